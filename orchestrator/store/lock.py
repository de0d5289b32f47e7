"""One driver per sweep: a kernel lock on a file that names its holder."""

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator.errors import EnvironmentFailure, UserError
from orchestrator.records import provenance
from orchestrator.store.files import usable

_MAX_HOLDER_BYTES = 4096


class SweepLock:
    """The lock of a sweep, held from ``acquire`` to ``release`` or to the end of the process, when the kernel frees it.

    Child processes do not hold it: the file is closed on exec and after a fork.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> Self:
        """Take the lock.

        Raises:
            UserError: another process holds the lock; the message names its host and pid.
            EnvironmentFailure: the folder cannot be written, or its file system has no locks.
        """
        with usable(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._flock(descriptor)
            with usable(self._path):
                _write_holder(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        os.register_at_fork(after_in_child=self._close)
        return self

    def release(self) -> None:
        """Release the lock. A second call does nothing, nor does a call in a forked child."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # at once, even if a child has not reached exec yet
        self._close()

    def _flock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            sweep_id = self._path.parent.name
            raise UserError(f"sweep {sweep_id} is being worked on by {_holder(descriptor)}; wait or stop it") from error
        except OSError as error:
            raise EnvironmentFailure(f"cannot lock {self._path}: {error.strerror}; put runs_dir elsewhere") from error

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        """Take the lock unless this object holds it already."""
        return self if self._descriptor is not None else self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        self.release()


def _write_holder(descriptor: int) -> None:
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "boot_id": provenance.boot_id(),
        "started": datetime.fromtimestamp(provenance.unix_now_s(), UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode() + b"\n", 0)


def _holder(descriptor: int) -> str:
    try:
        holder: dict[str, Any] = json.loads(os.pread(descriptor, _MAX_HOLDER_BYTES, 0))
        return f"pid {holder['pid']} on {holder['host']} since {holder['started']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
