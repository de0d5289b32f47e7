"""What travels between here and the host: archives in pieces that are small enough, and the little a host needs."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

PIECE_BYTES = 15 * 2**20
"""A file that comes back from the host may have 16 MiB."""

_NAME = "h200.tar.gz"


def pack(root: Path, files: Iterable[Path], into: Path) -> list[Path]:
    """Write ``files`` below ``root`` to pieces ``h200.tar.gz.00``, … in ``into``, in the place of those there."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz", compresslevel=6) as archive:
        for path in sorted(files):
            archive.add(path, arcname=str(path.relative_to(root)), recursive=False)
    content = whole.getvalue()
    into.mkdir(parents=True, exist_ok=True)
    for old in pieces_in(into):
        old.unlink()
    pieces = [content[begin : begin + PIECE_BYTES] for begin in range(0, len(content), PIECE_BYTES)]
    for number, piece in enumerate(pieces):
        (into / f"{_NAME}.{number:02}").write_bytes(piece)
    return pieces_in(into)


def unpack(folder: Path, root: Path) -> int:
    """Put the files of the pieces in ``folder`` below ``root``, over those there; how many there were.

    Raises:
        FileNotFoundError: there is no piece.
    """
    pieces = pieces_in(folder)
    if not pieces:
        raise FileNotFoundError(f"there is no {_NAME}.00 in {folder}")
    root.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO(b"".join(piece.read_bytes() for piece in pieces))
    with tarfile.open(fileobj=whole, mode="r:gz") as archive:
        members = archive.getmembers()
        archive.extractall(root, members, filter="data")
    return len(members)


def pieces_in(folder: Path) -> list[Path]:
    """The pieces of an archive, in their order."""
    return sorted(folder.glob(f"{_NAME}.[0-9][0-9]"))
