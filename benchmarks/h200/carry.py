"""``python -m benchmarks.h200.carry KIT``: lay into ``.h200/`` what has to travel to a GPU host without a network.

KIT is a folder with packages for that host in pieces (``chunks/kit.tar.xz.*``, ``chunks/SHA256SUMS``), or the pieces
themselves, beside ``--scripts`` that unpack them (``receive_chunk.sh``, ``assemble.sh``). With them goes what
``h200_runs/`` knows of the parts that are done: everything but the series.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.h200.next import FOLDER
from benchmarks.h200.parcel import pack

CARRIED = Path(".h200")
_MOST_MIB = 64.0
_SCRIPTS = ("receive_chunk.sh", "assemble.sh")
_KNOWN = (".json", ".csv")


def main() -> None:
    """Lay it there."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("kit", type=Path)
    asked.add_argument("--scripts", type=Path, help="where the scripts are, if not in KIT")
    given = asked.parse_args()
    CARRIED.mkdir(exist_ok=True)
    chunks = given.kit / "chunks" if (given.kit / "chunks").is_dir() else given.kit
    found = [*sorted(chunks.glob("kit.tar.xz.*")), chunks / "SHA256SUMS"]
    found += [(given.scripts or given.kit) / name for name in _SCRIPTS]
    missing = [str(path) for path in found if not path.is_file()]
    if missing or len(found) < 2 + len(_SCRIPTS):
        sys.exit(f"not a kit: {', '.join(missing) or chunks} is not there")
    for path in found:
        shutil.copyfile(path, CARRIED / path.name)
    carry_progress(FOLDER)


def carry_progress(folder: Path) -> None:
    """Lay into ``.h200/`` what a later call must know of what is done, and say how much travels."""
    if folder.is_dir():
        known = [path for path in folder.rglob("*") if path.is_file() and path.suffix in _KNOWN]
        pack(folder, known, CARRIED)
    size_mib = (_bytes(CARRIED) + _tracked_bytes()) / 2**20
    print(f"{CARRIED} and the checkout are {size_mib:.1f} MiB; the host takes {_MOST_MIB:g}")
    if size_mib > _MOST_MIB:
        sys.exit("too much")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _tracked_bytes() -> int:
    """Of the checkout, without what git ignores; 0 where this is none."""
    if not Path(".git").exists():
        return 0
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=True
    )
    paths = (Path(name.decode()) for name in listed.stdout.split(b"\0") if name)
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    main()
