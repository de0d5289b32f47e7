"""Processes of a lane: none of them outlives it, whatever ended it.

Nothing runs on SIGKILL: who is killed cannot clean up. So every lane actor watches its raylet, and the collector
watches the engine's actor; each kills what the other leaves.
"""

import os
import select
import signal
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil


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


def descendants(pid: int) -> frozenset[Seen]:
    """All processes below one; empty where that is gone."""
    with suppress(psutil.NoSuchProcess):
        return frozenset(filter(None, (seen(each.pid) for each in psutil.Process(pid).children(recursive=True))))
    return frozenset()


def kill(processes: Iterable[Seen]) -> None:
    """SIGKILL each that is still the process it was."""
    for each in processes:
        process = each.process()
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def wait_gone(processes: Iterable[Seen], timeout_s: float) -> tuple[int, ...]:
    """Wait until they have ended; the ids of those that have not."""
    found = [process for each in processes if (process := each.process()) is not None]
    _, alive = psutil.wait_procs(found, timeout=timeout_s)
    return tuple(each.pid for each in alive if each.status() != psutil.STATUS_ZOMBIE)


def end_with_parent() -> None:
    """From now on this process, its group and every descendant are killed once its parent (Ray's raylet) is gone."""
    parent = os.getppid()
    handle = os.pidfd_open(parent)
    if os.getppid() != parent:  # it died in between; somebody else is the parent now
        _kill_all()
    threading.Thread(target=_kill_after, args=(handle,), name="joulegrid-raylet", daemon=True).start()


def _kill_after(handle: int) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll()
    _kill_all()


def _kill_all() -> None:
    """The descendants first, because some may be in a session of their own; then our group, which ends us too."""
    kill(descendants(os.getpid()))
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
