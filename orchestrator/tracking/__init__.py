"""Copy the records on disk to MLflow; only the driver does."""
