"""Wire formats and vendors' classes over `Speech`."""
