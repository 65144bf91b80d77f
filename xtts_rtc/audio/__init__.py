"""Changes samples that were already made."""
