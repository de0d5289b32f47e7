"""Measuring on a machine with one H200: scripts, and what their results say."""
