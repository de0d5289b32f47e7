"""Benchmarks of speed and accuracy against other programs; ``make bench`` writes docs/benchmarks.md."""
