"""``python -m benchmarks.hydra_cells N WORKERS``: trivial jobs with Hydra's joblib launcher in its default settings.

It starts itself as the Hydra application. Jobs run in other processes, so each appends the time of its end to a file.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig

from benchmarks.rate import Rate, print_rate, rate_of

_ENDS = "BENCHMARK_ENDS"


@hydra.main(version_base="1.3", config_path="conf", config_name="trivial")
def job(config: DictConfig) -> float:
    """Square a number."""
    score = float(config.x) ** 2
    with Path(os.environ[_ENDS]).open("a") as ends:
        ends.write(f"{time.monotonic()}\n")
    return score


def measure(n_cells: int, n_workers: int, folder: Path) -> Rate:
    """Run ``n_cells`` trivial jobs with outputs below ``folder``."""
    ends = folder / "ends.txt"
    launcher = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={n_workers}", f"hydra.sweep.dir={folder / 'sweep'}")
    start_s = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "benchmarks.hydra_cells", "app", "-m", *launcher, f"x=range(0,{n_cells})"],
        check=True,
        stdout=sys.stderr,
        env={**os.environ, _ENDS: str(ends)},
    )
    return rate_of([float(line) for line in ends.read_text().split()], start_s, time.monotonic())


if __name__ == "__main__":
    if sys.argv[1] == "app":
        del sys.argv[1]
        job()
    else:
        with tempfile.TemporaryDirectory() as scratch:
            print_rate(measure(int(sys.argv[1]), int(sys.argv[2]), Path(scratch)))
