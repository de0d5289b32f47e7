"""``python -m benchmarks.h200.transfer``: copy packages and results between this machine and a GPU host.

``carry KIT`` copies into ``.h200/`` what the host needs: the pieces of a kit of packages (``chunks/kit.tar.xz.*`` and
``chunks/SHA256SUMS`` below KIT, or the pieces themselves), the scripts that unpack them (``receive_chunk.sh`` and
``assemble.sh``, in KIT or in ``--scripts``), and what ``h200_runs/`` records of finished parts, without series.
``take DIR`` unpacks the pieces in DIR into ``h200_runs/``, appends DIR's ``log.txt``, and prepares the next call.
``keep`` copies the records of ``h200_runs/`` into ``benchmarks/data/h200/``, without the largest series, pages and
logs; ``python -m orchestrator report runs_dir=benchmarks/data/h200/runs`` renders them.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.h200 import DATA, FOLDER
from benchmarks.h200.progress import print_progress

PIECE_BYTES = 15 * 2**20
"""The host returns no file above 16 MiB."""

CARRIED = Path(".h200")
_MAX_CARRIED_MIB = 64.0
_SCRIPTS = ("receive_chunk.sh", "assemble.sh")
_RECORD_SUFFIXES = (".json", ".csv")
_ARCHIVE = "h200.tar.gz"
_NOT_KEPT = shutil.ignore_patterns(
    "tokens.parquet", "scheduled.parquet", "report.html", "figures", "results.*", "repeats.*", "findings.json", "lock"
)
_RESULTS = ("sensor/sensor.json", "sensor/sensor.parquet", "sensor/sensor.png", "bare/bare.json", "progress.json")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    to_host = commands.add_parser("carry")
    to_host.add_argument("kit", type=Path)
    to_host.add_argument("--scripts", type=Path, help="folder of the scripts, if they are not in KIT")
    commands.add_parser("take").add_argument("folder", type=Path)
    commands.add_parser("keep")
    given = parser.parse_args(arguments)
    if given.command == "carry":
        carry(given.kit, given.scripts or given.kit)
    elif given.command == "take":
        take(given.folder)
    else:
        keep(FOLDER, DATA)


def carry(kit: Path, scripts: Path) -> None:
    """Copy a kit, its scripts and the progress into ``.h200/``; exit if a file is missing."""
    chunks = kit / "chunks" if (kit / "chunks").is_dir() else kit
    pieces = sorted(chunks.glob("kit.tar.xz.*"))
    files = [*pieces, chunks / "SHA256SUMS", *(scripts / name for name in _SCRIPTS)]
    missing = [str(path) for path in files if not path.is_file()]
    if missing or not pieces:
        sys.exit(f"not a kit: missing {', '.join(missing) or chunks / 'kit.tar.xz.*'}")
    CARRIED.mkdir(exist_ok=True)
    for path in files:
        shutil.copyfile(path, CARRIED / path.name)
    carry_progress(FOLDER)


def carry_progress(folder: Path) -> None:
    """Pack the records of ``folder`` into ``.h200/`` and print the total size; exit if it is too large to send."""
    if folder.is_dir():
        records = [path for path in folder.rglob("*") if path.is_file() and path.suffix in _RECORD_SUFFIXES]
        pack(folder, records, CARRIED)
    size_mib = (_bytes(CARRIED) + _checkout_bytes()) / 2**20
    print(f"{CARRIED} and the checkout are {size_mib:.1f} MiB; the host takes {_MAX_CARRIED_MIB:g}")
    if size_mib > _MAX_CARRIED_MIB:
        sys.exit(f"more than {_MAX_CARRIED_MIB:g} MiB cannot be sent")


def take(folder: Path) -> None:
    """Unpack what the host returned, print the progress, and prepare the next call."""
    try:
        n_files = unpack(folder, FOLDER)
    except FileNotFoundError as error:
        sys.exit(str(error))
    log = folder / "log.txt"
    if log.exists():
        with (FOLDER / "log.txt").open("a", encoding="utf-8") as all_logs:
            all_logs.write(log.read_text(encoding="utf-8"))
    print(f"{n_files} files from {folder}")
    print_progress(FOLDER)
    if CARRIED.is_dir():
        carry_progress(FOLDER)


def keep(folder: Path, data: Path) -> None:
    """Copy the compact records of ``folder`` into ``data``, over those there, and print their size."""
    if not (folder / "runs").is_dir():
        sys.exit(f"no sweep in {folder / 'runs'}: `python -m benchmarks.h200.transfer take DIR` brings them")
    shutil.copytree(folder / "runs", data / "runs", ignore=_NOT_KEPT, dirs_exist_ok=True)
    for path in (folder / name for name in _RESULTS):
        if path.exists():
            shutil.copyfile(path, data / path.name)
    print(f"{data}: {_bytes(data) / 2**20:.1f} MiB")


def pack(root: Path, files: Iterable[Path], into: Path) -> list[Path]:
    """Archive ``files`` below ``root`` as pieces ``h200.tar.gz.00``, … in ``into``, replacing those there."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for path in sorted(files):
            archive.add(path, arcname=str(path.relative_to(root)), recursive=False)
    content = buffer.getvalue()
    into.mkdir(parents=True, exist_ok=True)
    for old in pieces_in(into):
        old.unlink()
    for number, begin in enumerate(range(0, len(content), PIECE_BYTES)):
        (into / f"{_ARCHIVE}.{number:02}").write_bytes(content[begin : begin + PIECE_BYTES])
    return pieces_in(into)


def unpack(folder: Path, root: Path) -> int:
    """Extract the archive whose pieces are in ``folder`` below ``root`` and return its number of files.

    Raises:
        FileNotFoundError: there is no piece.
    """
    pieces = pieces_in(folder)
    if not pieces:
        raise FileNotFoundError(f"there is no {_ARCHIVE}.00 in {folder}")
    root.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO(b"".join(piece.read_bytes() for piece in pieces))
    with tarfile.open(fileobj=content, mode="r:gz") as archive:
        members = archive.getmembers()
        archive.extractall(root, members, filter="data")
    return len(members)


def pieces_in(folder: Path) -> list[Path]:
    """Return the pieces of an archive in their order."""
    return sorted(folder.glob(f"{_ARCHIVE}.[0-9][0-9]"))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _checkout_bytes() -> int:
    """Return the size of the checkout without ignored files; 0 outside a checkout."""
    if not Path(".git").exists():
        return 0
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=True
    )
    paths = (Path(name.decode()) for name in listed.stdout.split(b"\0") if name)
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    main()
