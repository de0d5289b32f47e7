"""Turn Hydra overrides into a validated matrix of cells."""
