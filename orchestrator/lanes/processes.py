"""Processes of a lane: none of them outlives it, whatever ended it.

Nothing runs on SIGKILL: who is killed cannot clean up. So the lane's name is in the environment that the engine's actor
begins with, and so in that of every process it starts, wherever those belong; the actor and the collector both watch
their raylet, the collector the engine's actor as well, and each kills all that has the name.
"""

import os
import signal
import time
from contextlib import suppress
from functools import partial

import psutil

from collectors import processes

LANE = "JOULEGRID_LANE"
"""Environment variable with the lane's name."""

_LOOK_EVERY_S = 0.05
_KILL_TIMEOUT_S = 5.0
_MAX_STOPPED_S = 10


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
    processes.end_with_parent(partial(_kill_all, lane_id), max_stopped_s=_MAX_STOPPED_S)


def _kill_all(lane_id: str) -> None:
    """Whatever has the name first; then our group, which ends us too."""
    kill_lane(lane_id, _KILL_TIMEOUT_S)
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    processes.kill_self()
