"""``python -m benchmarks.run``: every benchmark, interleaved, and docs/benchmarks.md from what was measured."""

import argparse
import platform
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.compose_cost import compose_cost
from benchmarks.page import Measured, page
from benchmarks.rate import Rate, told
from benchmarks.trace_replay import STEPPINGS, Replay, replay

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
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--cells", type=int, default=1000, help="trivial cells of a sweep")
    asked.add_argument("--few-cells", type=int, default=150, help="of contenders that need tens of milliseconds a cell")
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--page", type=Path, default=PAGE)
    given = asked.parse_args()
    measured = Measured(
        machine=_machine(),
        n_workers=given.workers,
        rates=_interleaved(given.rounds, given.cells, given.few_cells, given.workers),
        replays=_replays(given.rounds),
        compose=compose_cost(),
    )
    given.page.write_text(page(measured))
    print(given.page)


def _interleaved(rounds: int, n_cells: int, n_few: int, n_workers: int) -> dict[str, list[Rate]]:
    """Each contender once a round, in a process of its own."""
    rates: dict[str, list[Rate]] = defaultdict(list)
    for _ in range(rounds):
        for name, (module, *flags) in CONTENDERS.items():
            n = n_few if name in SLOW else n_cells
            rates[name].append(contend(module, n, n_workers, *flags))
            print(name, rates[name][-1], flush=True)
    return dict(rates)


def contend(module: str, n_cells: int, n_workers: int, *flags: str) -> Rate:
    """Run a contender's module and read its rate."""
    command = [sys.executable, "-m", f"benchmarks.{module}", str(n_cells), str(n_workers), *flags]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stderr[-2000:]}")
    return told(ended.stdout)


def _replays(rounds: int) -> dict[str, Replay]:
    """The replay of median time of each stepping, taken in turns."""
    found: dict[str, list[Replay]] = defaultdict(list)
    for _ in range(rounds):
        for stepping in STEPPINGS:
            found[stepping].append(replay(stepping))
    return {name: sorted(several, key=lambda one: one.cpu_s)[len(several) // 2] for name, several in found.items()}


def _machine() -> str:
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} logical CPUs ({_cpu_name()}), {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, Ray {version('ray')}, "
        f"hydra-joblib-launcher {version('hydra-joblib-launcher')}, "
        f"load average {psutil.getloadavg()[0]:.1f} at the start"
    )


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
