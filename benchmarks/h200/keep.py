"""``python -m benchmarks.h200.keep``: the raw records of ``h200_runs/``, compact, into ``benchmarks/data/h200/``.

Left out are the largest series (when each token came, who was in each iteration), the pages and the logs. What is kept
is a runs folder: ``python -m orchestrator report runs_dir=benchmarks/data/h200/runs`` renders it.
"""

import shutil
import sys
from pathlib import Path

from benchmarks.h200.kept import DATA, RUNS
from benchmarks.h200.next import FOLDER

_LEFT_OUT = shutil.ignore_patterns(
    "tokens.parquet", "scheduled.parquet", "report.html", "figures", "results.*", "repeats.*", "findings.json", "lock"
)
_RESULTS = ("sensor/sensor.json", "sensor/sensor.parquet", "sensor/sensor.png", "bare/bare.json", "progress.json")


def main() -> None:
    """Copy, and say how much it is."""
    sweeps = sorted(path.parent for path in FOLDER.glob("runs/*/sweep.json"))
    if not sweeps:
        sys.exit(f"no sweep in {FOLDER / 'runs'}: `python -m benchmarks.h200.take` brings them")
    keep(FOLDER, DATA)
    size_mib = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) / 2**20
    print(f"{len(sweeps)} sweeps in {RUNS}, {size_mib:.1f} MiB in all")


def keep(folder: Path, data: Path) -> None:
    """Copy what is kept of ``folder`` into ``data``, over what is there."""
    shutil.copytree(folder / "runs", data / "runs", ignore=_LEFT_OUT, dirs_exist_ok=True)
    for name in _RESULTS:
        path = folder / name
        if path.exists():
            shutil.copyfile(path, data / path.name)


if __name__ == "__main__":
    main()
