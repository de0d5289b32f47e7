"""A controller's connection to the guard, which it starts if there is none and holds as long as it lives."""

import hashlib
import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import collectors
from collectors.errors import ControlRefused

WATCHING = b"watching\n"
"""Message of the guard once it watches a controller."""

_LANE_VARIABLE = "JOULEGRID_LANE"
"""Processes that have it are killed when the lane ends; the guard must not have it."""

_TIMEOUT_S = 15.0
_POLL_S = 0.02
_CREDENTIALS = struct.Struct("3i")


class GuardLink:
    """A connection to a guard that watches this process. Close it when nothing is set any more."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    def ensured(cls, folder: Path) -> Self:
        """Connect to the node's guard; start one if there is none.

        Raises:
            ControlRefused: No guard answers.
        """
        deadline_s = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline_s:
            if (connection := _connect(folder)) is not None:
                return cls(connection)
            _start(folder)
            time.sleep(_POLL_S)
        raise ControlRefused(
            f"the guard that restores limits and clocks does not start; nothing was set; its log is {log_path(folder)}"
        )

    @property
    def alive(self) -> bool:
        """Whether the guard lives; it sends nothing more, so anything to read is the end of the connection."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def address(folder: Path) -> str:
    """Return the guard's abstract socket, one per user and folder; the kernel frees it however the guard ends."""
    stat = folder.stat()
    name = hashlib.sha256(f"{stat.st_dev} {stat.st_ino} {os.geteuid()}".encode()).hexdigest()[:24]
    return f"\0joulegrid-guard-{name}"


def log_path(folder: Path) -> Path:
    """Return the path of the guard's log."""
    return folder / f"guard-{os.geteuid()}.log"


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(credentials)
    return pid, user


def _connect(folder: Path) -> socket.socket | None:
    """Return a connection to the guard; None if there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(address(folder))
        if peer(connection)[1] == os.geteuid() and connection.recv(len(WATCHING)) == WATCHING:
            return connection
    except OSError:  # there is none, or it is ending
        pass
    connection.close()
    return None


def _start(folder: Path) -> None:
    """Start a guard as a daemon in a session of its own; if there is one already, the new one ends at once."""
    root = Path(collectors.__file__).parents[1]
    env = {name: value for name, value in os.environ.items() if name != _LANE_VARIABLE}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), env.get("PYTHONPATH")]))
    try:
        log = os.open(log_path(folder), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ControlRefused(f"the guard's log {log_path(folder)} cannot be written: {error.strerror}") from error
    try:
        subprocess.run(
            [sys.executable, "-m", "collectors.control.guard", str(folder.resolve())],
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            check=False,
        )
    except OSError as error:
        raise ControlRefused(f"the guard cannot be started ({error}); nothing was set") from error
    finally:
        os.close(log)
