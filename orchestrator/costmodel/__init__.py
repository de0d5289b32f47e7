"""Equations of step time, power and memory, without an engine; the simulator and attribution use them."""
