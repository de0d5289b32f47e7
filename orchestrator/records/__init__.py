"""Stored shapes: the record of a cell, its series, the table of metrics, provenance."""
