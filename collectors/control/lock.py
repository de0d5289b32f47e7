"""The lock of one GPU: only one process of a node sets it. The kernel releases the lock however that process ends."""

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from collectors.errors import ControlRefused, SetByOthers
from collectors.processes import start_ticks

CONTROLLER = "controller"
"""Role of a process that keeps the lock; processes of other roles hold it for moments."""

_TIMEOUT_S = 30.0
_CONTROLLER_TIMEOUT_S = 0.5
_POLL_S = 0.02
_MAX_RECORD_BYTES = 4096
_ADVICE = "one process at a time may set a GPU; wait for it or end it"


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds or held a lock, and its role; `start_ticks` as in `collectors.processes`."""

    pid: int
    start_ticks: int
    host: str
    role: str

    @classmethod
    def this(cls, role: str) -> Self:
        """Return this process."""
        return cls(os.getpid(), start_ticks(os.getpid()) or 0, socket.gethostname(), role)

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """Parse what `to_json` returned; None for anything else, for example a line written in part."""
        try:
            values = json.loads(text)
            return cls(int(values["pid"]), int(values["start_ticks"]), str(values["host"]), str(values["role"]))
        except (ValueError, KeyError, TypeError):
            return None

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @property
    def gone(self) -> bool:
        """Whether it has certainly ended: it was on this host, and no process here has its pid and start."""
        return self.host == socket.gethostname() and start_ticks(self.pid) != self.start_ticks

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}"


class GpuLock:
    """A lock, held until it is released. The file names the holder for processes that are refused."""

    def __init__(self, file: int, uuid: str) -> None:
        self._file = file
        self.uuid = uuid

    @classmethod
    def take(cls, folder: Path, uuid: str, role: str) -> Self:
        """Take the lock; wait for holders of roles other than `CONTROLLER`.

        Raises:
            SetByOthers: Another controller holds it; the message has its pid and host.
            ControlRefused: The lock file cannot be used.
        """
        start_s = time.monotonic()
        while (lock := cls.try_take(folder, uuid, role)) is None:
            waited_s = time.monotonic() - start_s
            holder = holder_of(folder, uuid)
            stays = holder is not None and holder.role == CONTROLLER and not holder.gone
            if waited_s > (_CONTROLLER_TIMEOUT_S if stays else _TIMEOUT_S):
                raise SetByOthers(f"GPU {uuid} is controlled by {holder or 'another process'}: {_ADVICE}")
            time.sleep(_POLL_S)
        return lock

    @classmethod
    def try_take(cls, folder: Path, uuid: str, role: str) -> Self | None:
        """Take the lock; return None if another process holds it.

        Raises:
            ControlRefused: The lock file cannot be used.
        """
        try:
            file = _open(_path(folder, uuid))
        except OSError as error:
            raise _unusable(folder, uuid, "opened", error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            os.close(file)
            raise _unusable(folder, uuid, "taken", error) from error
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, Owner.this(role).to_json().encode(), 0)
        except OSError as error:
            cls(file, uuid).release()
            raise _unusable(folder, uuid, "written", error) from error
        return cls(file, uuid)

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            fcntl.flock(file, fcntl.LOCK_UN)  # a child forked meanwhile has the file open, so closing is not enough
            os.close(file)


def holder_of(folder: Path, uuid: str) -> Owner | None:
    """Return the process that took the lock last, as its file says; None if it does not say."""
    try:
        file = os.open(_path(folder, uuid), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return Owner.from_json(os.pread(file, _MAX_RECORD_BYTES, 0).decode(errors="replace"))
    finally:
        os.close(file)


def _path(folder: Path, uuid: str) -> Path:
    return folder / f"{uuid}.lock"


def _open(path: Path) -> int:
    """Open the file, writable for all users. In a sticky folder Linux denies O_CREAT on others' files, even to root."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:  # another process created it first
        return os.open(path, flags)
    os.fchmod(file, 0o666)
    return file


def _unusable(folder: Path, uuid: str, done: str, error: OSError) -> ControlRefused:
    return ControlRefused(f"the lock of GPU {uuid} in {folder} cannot be {done}: {error.strerror or error}")
