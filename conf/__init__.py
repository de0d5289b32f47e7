"""Hydra groups (YAML only); a package so that `pkg://conf` works from a checkout and from a wheel."""
