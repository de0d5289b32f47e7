"""From Hydra overrides to a validated matrix of cells."""
