"""Measure power and apply limits for one cell, on the node of its engine."""
