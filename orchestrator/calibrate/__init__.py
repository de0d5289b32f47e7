"""Fit the coefficients of a hardware preset to measured cells, and estimate the error of the fit."""
