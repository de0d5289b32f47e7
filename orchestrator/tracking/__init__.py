"""MLflow as a view of the records on disk; only the driver writes it."""
