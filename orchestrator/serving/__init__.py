"""The engine contract, several engines behind one cell, and the watchdog that detects a hung engine."""
