"""Names, checks, hashes and remembers voices."""
