"""Processes of a lane: none of them outlives it, whatever ended it.

Nothing runs on SIGKILL: who is killed cannot clean up. So the lane's name is in the environment that the engine's actor
begins with, and so in that of every process it starts, wherever those belong; the actor and the collector both watch
their raylet, the collector the engine's actor as well, and each kills all that has the name.
"""

import os
import select
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

LANE = "JOULEGRID_LANE"
"""Environment variable with the lane's name."""

_LOOK_EVERY_S = 0.05
_KILL_TIMEOUT_S = 5.0
_LOOK_AT_PARENT_MS = 1000
_STOPPED_LOOKS = 10


@dataclass(frozen=True, slots=True)
class Seen:
    """A process, told apart from a later one of the same id."""

    pid: int
    created_s: float

    def process(self) -> psutil.Process | None:
        """The process, if it is still there and has not ended."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid)
            if found.create_time() == self.created_s and found.status() != psutil.STATUS_ZOMBIE:
                return found
        return None


def seen(pid: int) -> Seen | None:
    """The process with this id now."""
    with suppress(psutil.NoSuchProcess):
        return Seen(pid, psutil.Process(pid).create_time())
    return None


def of_lane(lane_id: str) -> list[psutil.Process]:
    """Processes of a lane on this machine that have not ended, but for this one."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _is_of(process, lane_id)]


def _is_of(process: psutil.Process, lane_id: str) -> bool:
    try:
        return process.environ().get(LANE) == lane_id and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):  # it has ended, or is another user's
        return False


def kill_lane(lane_id: str, timeout_s: float) -> tuple[int, ...]:
    """SIGKILL every process of a lane, also those that start meanwhile; ids of those left after ``timeout_s``."""
    deadline_s = time.monotonic() + timeout_s
    while found := of_lane(lane_id):
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if time.monotonic() >= deadline_s:
            return tuple(process.pid for process in found)
        time.sleep(_LOOK_EVERY_S)
    return ()


def end_with_parent(lane_id: str) -> None:
    """From now on every process of the lane, and this one, is killed once its parent (Ray's raylet) is gone.

    One that is stopped for ten seconds counts as gone: Ray gives its node up, and nobody would end what runs on it.
    """
    parent = psutil.Process(os.getppid())
    handle = os.pidfd_open(parent.pid)
    if os.getppid() != parent.pid:  # it died in between; somebody else is the parent now
        _kill_all(lane_id)
    threading.Thread(target=_kill_after, args=(handle, parent, lane_id), name="joulegrid-raylet", daemon=True).start()


def _kill_after(handle: int, parent: psutil.Process, lane_id: str) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    n_stopped = 0  # looks, not seconds: this process may itself have been held up
    while n_stopped < _STOPPED_LOOKS and not poll.poll(_LOOK_AT_PARENT_MS):
        n_stopped = n_stopped + 1 if is_stopped(parent) else 0
    _kill_all(lane_id)


def is_stopped(process: psutil.Process) -> bool:
    """Whether a signal holds it; one that is gone is not."""
    try:
        return bool(process.status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:  # the next look tells
        return False


def _kill_all(lane_id: str) -> None:
    """Whatever has the name first; then our group, which ends us too."""
    kill_lane(lane_id, _KILL_TIMEOUT_S)
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
