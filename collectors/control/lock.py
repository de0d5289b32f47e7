"""The lock of one GPU: one process of a node sets it. The kernel releases it whatever ends the process."""

import fcntl
import os
import time
from pathlib import Path
from typing import Self

from collectors.control.owner import Owner
from collectors.errors import ControlRefused, SetByOthers

CONTROLLER = "controller"
"""Role of a process that keeps the lock; others hold it for moments."""

_PATIENCE_S = 30.0
_TOLD_WITHIN_S = 0.5
_LOOK_EVERY_S = 0.02
_LONGEST_RECORD = 4096
_ADVICE = "one process at a time may set a GPU; wait for it or end it"


class GpuLock:
    """Held until it is released. The file tells who holds it, to those who are refused."""

    def __init__(self, file: int, uuid: str) -> None:
        self._file = file
        self.uuid = uuid

    @classmethod
    def take(cls, folder: Path, uuid: str, role: str) -> Self:
        """Takes it, waiting for guards and those who only look.

        Raises:
            SetByOthers: Another controller has it; the message names its pid and host.
            ControlRefused: There can be no lock in the folder.
        """
        start_s = time.monotonic()
        while (lock := cls.try_take(folder, uuid, role)) is None:
            waited_s = time.monotonic() - start_s
            holder = holder_of(folder, uuid)
            stays = holder is not None and holder.role == CONTROLLER and not holder.gone
            if waited_s > (_TOLD_WITHIN_S if stays else _PATIENCE_S):
                raise SetByOthers(f"GPU {uuid} is controlled by {holder or 'another process'}: {_ADVICE}")
            time.sleep(_LOOK_EVERY_S)
        return lock

    @classmethod
    def try_take(cls, folder: Path, uuid: str, role: str) -> Self | None:
        """Takes it if nobody has it.

        Raises:
            ControlRefused: There can be no lock in the folder.
        """
        try:
            file = _opened(_path(folder, uuid))
        except OSError as error:
            raise _no_lock(folder, uuid, "opened", error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            os.close(file)
            raise _no_lock(folder, uuid, "taken", error) from error
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, Owner.this(role).told().encode(), 0)
        except OSError as error:
            cls(file, uuid).release()
            raise _no_lock(folder, uuid, "written", error) from error
        return cls(file, uuid)

    def release(self) -> None:
        """Lets it go; a second time does nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing alone leaves it to a child that was forked meanwhile
            os.close(file)


def holder_of(folder: Path, uuid: str) -> Owner | None:
    """Who took the lock last, as the file tells it; None where it tells nothing."""
    try:
        file = os.open(_path(folder, uuid), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return Owner.parsed(os.pread(file, _LONGEST_RECORD, 0).decode(errors="replace"))
    finally:
        os.close(file)


def _no_lock(folder: Path, uuid: str, done: str, error: OSError) -> ControlRefused:
    return ControlRefused(f"the lock of GPU {uuid} in {folder} cannot be {done}: {error.strerror or error}")


def _path(folder: Path, uuid: str) -> Path:
    return folder / f"{uuid}.lock"


def _opened(path: Path) -> int:
    """The file, everybody's. Linux refuses to open another's with O_CREAT in a folder like this, even to root."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:  # another was first
        return os.open(path, flags)
    os.fchmod(file, 0o666)
    return file
