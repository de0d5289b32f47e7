"""Setters of GPUs: one file each, named by the setter."""
