"""The lock of one GPU: one process of a node sets it. The kernel releases it whatever ends the process."""

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from collectors.errors import ControlRefused, SetByOthers

CONTROLLER = "controller"
"""Role of a process that keeps the lock; others hold it for moments."""

_PATIENCE_S = 30.0
_TOLD_WITHIN_S = 0.5
_LOOK_EVERY_S = 0.02
_LONGEST_RECORD = 4096
_ADVICE = "one process at a time may set a GPU; wait for it or end it"

_AFTER_NAME_TO_START = 19
"""proc(5): the start time is field 22; what follows the name in parentheses begins with field 3."""


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


def start_ticks(pid: int) -> int | None:
    """When a process started; None where there is none, or only what its parent has not waited for."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] in "ZX" else int(after_name[_AFTER_NAME_TO_START])


@dataclass(frozen=True, slots=True)
class Owner:
    """A process. `start_ticks` are clock ticks since boot, as in /proc: no change of the wall clock moves them."""

    pid: int
    start_ticks: int
    host: str
    role: str

    @classmethod
    def this(cls, role: str) -> Self:
        """This process."""
        return cls(os.getpid(), start_ticks(os.getpid()) or 0, socket.gethostname(), role)

    @classmethod
    def parsed(cls, text: str) -> Self | None:
        """What `told` wrote; None for anything else, a line half written included."""
        try:
            found = json.loads(text)
            return cls(int(found["pid"]), int(found["start_ticks"]), str(found["host"]), str(found["role"]))
        except (ValueError, KeyError, TypeError):
            return None

    def told(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended: nobody of its id, or another, is on this host."""
        return self.host == socket.gethostname() and start_ticks(self.pid) != self.start_ticks

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}"


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


def boot_id() -> str:
    """Of this boot of the kernel; containers of one machine share it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
