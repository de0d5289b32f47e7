"""Data classes of what is stored: record, series, the table of metrics, provenance."""
