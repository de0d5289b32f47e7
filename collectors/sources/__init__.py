"""Power sources: one file each, found by its name."""
