"""A sweep over the driven engine on fake GPUs, from the command line as a user calls it."""

import subprocess
from pathlib import Path

from tests.end_to_end.command import Ended, end, start
from tests.fake_nvml.fake_gpus import FakeGpus

ROOT = Path(__file__).parents[2]
TERMINATES_S = 60
PRESETS = Path(__file__).with_name("conf")


def run_driven(folder: Path, machine: FakeGpus, *arguments: str, timeout_s: float = 280) -> Ended:
    """Run `python -m orchestrator` in an empty folder; terminate it after ``timeout_s``."""
    process = start(
        folder,
        "--config-dir",
        str(PRESETS),
        *arguments,
        "engine=driven",
        env={**machine.variables, "PYTHONPATH": str(ROOT)},
    )
    try:
        return end(process, timeout_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        raise AssertionError(f"no end in {timeout_s} s: {end(process, TERMINATES_S)}") from None
