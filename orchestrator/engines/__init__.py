"""Engines: one file each, found by its name (`engine.kind`)."""
