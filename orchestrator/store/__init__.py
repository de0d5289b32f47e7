"""The sweep on disk: records, series, lock, results. Disk is the truth."""
