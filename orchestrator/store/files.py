"""Atomic files: write to a temporary file, sync it, rename it into place."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import EnvironmentFailure

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Report an ``OSError`` of the block in one line.

    Raises:
        EnvironmentFailure: the block raised an ``OSError``, for example because the disk that holds ``path`` is full.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or path
        hint = "free some space" if error.errno in _FULL else "runs_dir must be a folder that you may write to"
        raise EnvironmentFailure(f"cannot write {where}: {os.strerror(error.errno or errno.EIO)}; {hint}") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file; at the end of the block, sync it and rename it to ``path``.

    A crash at any point leaves the old file or the new one, and perhaps a ``.NAME.PID.tmp`` beside it. The new
    name is durable after ``sync_folder``.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, durably."""
    with replacing(path) as file:
        file.write(content)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of a killed writer from a folder that only this process writes to."""
    for aside in folder.glob(".*.tmp"):
        aside.unlink(missing_ok=True)
