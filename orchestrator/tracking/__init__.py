"""MLflow as a view of the records on disk, written by the driver alone."""
