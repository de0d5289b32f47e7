"""Engines, cells and a pool for the tests of lanes."""
