"""``python -m benchmarks.h200.take DIR``: take what came back from the host, and lay out what the next call needs.

The pieces in DIR go over what ``h200_runs/`` holds; ``h200_runs/log.txt`` grows by what the call printed.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.h200.carry import CARRIED, carry_progress
from benchmarks.h200.next import FOLDER
from benchmarks.h200.parcel import unpack
from benchmarks.h200.progress import tell_progress


def main() -> None:
    """Take it, and say how far the parts have come."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path)
    given = asked.parse_args()
    try:
        n_files = unpack(given.folder, FOLDER)
    except FileNotFoundError as error:
        sys.exit(str(error))
    log = given.folder / "log.txt"
    if log.exists():
        with (FOLDER / "log.txt").open("a", encoding="utf-8") as kept:
            kept.write(log.read_text(encoding="utf-8"))
    print(f"{n_files} files from {given.folder}")
    tell_progress(FOLDER)
    if CARRIED.is_dir():
        carry_progress(FOLDER)


if __name__ == "__main__":
    main()
