"""The maths of one step. Knows no stream, thread or clock."""
