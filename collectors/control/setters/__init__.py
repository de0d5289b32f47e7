"""Ways to set a GPU: one file each, found by its name."""
