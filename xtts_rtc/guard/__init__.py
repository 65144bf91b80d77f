"""Who and what may pass before any route is asked: keys, origins, sizes, times, and room in the engine."""
