"""Measurements on an H200 that is lent for minutes, on a host without a network; docs/h200.md has the commands."""

from pathlib import Path

FOLDER = Path("h200_runs")
"""All that was measured, below the working directory."""

DATA = Path(__file__).parent.parent / "data" / "h200"
"""The compact records that are committed."""

SWEEPS = ("reference_8b", "batch_h200")
