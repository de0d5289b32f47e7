"""``python -m benchmarks.run``: run all contenders in turns and write docs/benchmarks.md."""

import argparse
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.page import Measured, page
from benchmarks.rate import Rate, read_rate
from benchmarks.single_process import STEPPINGS, Replay, compose_cost, replay

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
CONTENDERS = {
    "joulegrid": ("joulegrid_cells",),
    "joulegrid_mlflow": ("joulegrid_cells", "mlflow"),
    "tune": ("tune_cells",),
    "joblib": ("hydra_cells",),
}
SLOW = ("joulegrid_mlflow", "joblib")


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1000, help="trivial cells of a sweep")
    parser.add_argument("--few-cells", type=int, default=150, help="cells of contenders that need tens of ms per cell")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    measured = Measured(
        machine=machine("ray", "hydra-joblib-launcher"),
        n_workers=given.workers,
        rates=_interleaved(given.rounds, given.cells, given.few_cells, given.workers),
        replays=_replays(given.rounds),
        compose=compose_cost(),
    )
    given.page.write_text(page(measured))
    print(given.page)


def _interleaved(rounds: int, n_cells: int, n_few: int, n_workers: int) -> dict[str, list[Rate]]:
    """Run each contender once per round, in its own process."""
    rates: dict[str, list[Rate]] = defaultdict(list)
    for _ in range(rounds):
        for name, (module, *flags) in CONTENDERS.items():
            n = n_few if name in SLOW else n_cells
            rates[name].append(contend(module, n, n_workers, *flags))
            print(name, rates[name][-1], flush=True)
    return dict(rates)


def contend(module: str, n_cells: int, n_workers: int, *flags: str) -> Rate:
    """Run a contender's module and return its rate."""
    command = [sys.executable, "-m", f"benchmarks.{module}", str(n_cells), str(n_workers), *flags]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stderr[-2000:]}")
    return read_rate(ended.stdout)


def _replays(rounds: int) -> dict[str, Replay]:
    """Return the replay with the median time for each stepping; the steppings take turns."""
    several: dict[str, list[Replay]] = defaultdict(list)
    for _ in range(rounds):
        for stepping in STEPPINGS:
            several[stepping].append(replay(stepping))
    return {name: sorted(each, key=lambda one: one.cpu_s)[len(each) // 2] for name, each in several.items()}


if __name__ == "__main__":
    main()
