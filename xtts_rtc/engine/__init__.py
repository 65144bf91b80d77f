"""Who runs, when, and when to stop. Holds every stream's state."""
