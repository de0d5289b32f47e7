"""The guard of a folder, and controllers in processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from collectors.control.guard_link import address, peer
from collectors.processes import start_ticks

ROOT = Path(__file__).parents[3]
CONTROLLER = """
import os, signal, sys, time
from pathlib import Path
import collectors.control
from collectors.control import Knobs, acquire, control, journal, undo
from collectors.control.setters.nvml import NvmlSetter
def say(value="ready"):  # one write, because a forked child prints to the same pipe
    sys.stdout.write(f"{value}\\n")
    sys.stdout.flush()
def die(*_arguments, **_named): os.kill(os.getpid(), signal.SIGKILL)
"""


def guard_pid(folder: Path) -> int | None:
    """Return the pid of the guard; None if there is none."""
    if not folder.is_dir():
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, suppress(OSError):
        connection.settimeout(5)
        connection.connect(address(folder))
        if connection.recv(16):
            return peer(connection)[0]
    return None


def kill(pid: int) -> None:
    """Kill a process and wait until it has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: start_ticks(pid) is None)


def end_guard(folder: Path) -> None:
    """End the guard of a folder, if there is one."""
    pid = guard_pid(folder)
    if pid is not None:
        kill(pid)


def wait_until(done: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline_s, "timeout"
        time.sleep(0.005)


@contextmanager
def controller(program: str, env: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that runs a program after the preamble; kill it at the end of the block."""
    command = [sys.executable, "-c", CONTROLLER + program, *arguments]
    with subprocess.Popen(
        command, env=dict(env), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def heard(child: subprocess.Popen[str]) -> str:
    """Return its next line."""
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, "the child ended early"
    return line.strip()
