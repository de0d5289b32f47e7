"""Lanes: actors that hold a loaded engine and its monitor on GPUs; which lane runs which cell."""
