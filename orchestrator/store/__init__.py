"""The sweep on disk: records, series, manifest, lock. MLflow and reports can be rebuilt from it."""
