"""Calibration: fit the coefficients of a hardware preset to measured cells, and estimate their error."""
