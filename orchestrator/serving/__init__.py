"""The engine contract, groups of engines behind one cell, and the watchdog of an engine."""
