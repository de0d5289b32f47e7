"""A controller's tie to the guard: started if there is none, held for as long as the controller lives."""

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
"""What the guard says once it watches a controller."""

_LANE_VARIABLE = "JOULEGRID_LANE"
"""Whoever has it is killed when the lane ends; the guard is not the lane's."""

_TIMEOUT_S = 15.0
_LOOK_EVERY_S = 0.02
_CREDENTIALS = struct.Struct("3i")


class GuardLink:
    """Connected to a guard that watches this process. Closing it tells the guard that nothing is set any more."""

    def __init__(self, connection: socket.socket) -> None:
        """Of a guard that has answered."""
        self._connection = connection

    @classmethod
    def ensured(cls, folder: Path) -> Self:
        """Connects to the node's guard, having started it where there is none.

        Raises:
            ControlRefused: No guard answers.
        """
        deadline_s = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline_s:
            if (connection := _connected(folder)) is not None:
                return cls(connection)
            _start(folder)
            time.sleep(_LOOK_EVERY_S)
        raise ControlRefused(
            f"the guard that restores limits and clocks does not start; nothing was set; its log is {log_path(folder)}"
        )

    @property
    def alive(self) -> bool:
        """Whether the guard is there; it says nothing more, so that anything to read is its end."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Lets the guard go."""
        self._connection.close()


def address(folder: Path) -> str:
    """The guard's abstract socket: of one user, one folder of journals; the kernel frees it whatever ends the guard."""
    found = folder.stat()
    name = hashlib.sha256(f"{found.st_dev} {found.st_ino} {os.geteuid()}".encode()).hexdigest()[:24]
    return f"\0joulegrid-guard-{name}"


def log_path(folder: Path) -> Path:
    """Where the guard says what it does."""
    return folder / f"guard-{os.geteuid()}.log"


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(told)
    return pid, user


def _connected(folder: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(address(folder))
        if peer(connection)[1] == os.geteuid() and connection.recv(len(WATCHING)) == WATCHING:
            return connection
    except OSError:  # there is none, or it ends just now
        pass
    connection.close()
    return None


def _start(folder: Path) -> None:
    """Starts a guard that is nobody's child and in nobody's session; where there is one already it ends at once."""
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
