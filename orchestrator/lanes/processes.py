"""Processes of a lane: none of them outlives the lane, however it ends.

A process that gets SIGKILL cannot clean up. So the environment of the engine's actor has the lane's name, and all its
child processes inherit it, in whatever session they are. The engine's actor and the collector both watch their raylet,
the collector also the engine's actor; each of them kills all processes with the name.
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

_POLL_S = 0.05
_KILL_TIMEOUT_S = 5.0
_MAX_STOPPED_S = 10


def of_lane(lane_id: str) -> list[psutil.Process]:
    """Return the running processes of a lane on this machine, except this one."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _is_of(process, lane_id)]


def _is_of(process: psutil.Process, lane_id: str) -> bool:
    try:
        return process.environ().get(LANE) == lane_id and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):  # it has ended or belongs to another user
        return False


def kill_lane(lane_id: str, timeout_s: float) -> tuple[int, ...]:
    """Send SIGKILL to all processes of a lane, new ones included; return the ids of those left after ``timeout_s``."""
    deadline_s = time.monotonic() + timeout_s
    while remaining := of_lane(lane_id):
        for process in remaining:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if time.monotonic() >= deadline_s:
            return tuple(process.pid for process in remaining)
        time.sleep(_POLL_S)
    return ()


def end_with_parent(lane_id: str) -> None:
    """Kill all processes of the lane and this one as soon as the parent of this process, Ray's raylet, has ended.

    A raylet that is stopped for ten seconds counts as ended: Ray gives up its node, and the processes would stay.
    """
    processes.end_with_parent(partial(_kill_all, lane_id), max_stopped_s=_MAX_STOPPED_S)


def _kill_all(lane_id: str) -> None:
    """Kill the processes with the name, then the process group of this process, which ends it too."""
    kill_lane(lane_id, _KILL_TIMEOUT_S)
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    processes.kill_self()
