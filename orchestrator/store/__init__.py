"""The sweep on disk: records, series, manifest, lock. Disk is the truth."""
