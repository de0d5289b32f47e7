"""Engines: plug-ins, one folder each, found by name (``engine.kind``)."""
