"""Figures, tables and text from the records of a sweep; the HTML page."""
