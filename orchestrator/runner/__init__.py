"""Run one cell from start to result, on the wall clock or in virtual time."""
