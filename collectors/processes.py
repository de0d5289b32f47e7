"""Processes of this machine: which one it is, whether it lives, and how it ends with its parent.

Pids are reused, so a process is identified by its pid and its start in clock ticks since boot (proc(5)), which does not
depend on the wall clock.
"""

import os
import select
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_STATE, _START_TICKS = 0, 19
"""Fields of /proc/PID/stat after the name in parentheses: proc(5) counts them as 3 and 22."""
_ENDED = "ZX"
_STOPPED = "T"
_POLL_MS = 1000


def boot_id() -> str:
    """Return the kernel's id of this boot, the same in all containers of a machine; empty if the kernel has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, not to be confused with a later one of the same pid."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the process that has this pid now; None if there is none or it has ended."""
        ticks = start_ticks(pid)
        return None if ticks is None else cls(pid, ticks)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return start_ticks(self.pid) == self.start_ticks


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is none or it is a zombie."""
    stat = _stat(pid)
    return None if stat is None or stat[_STATE] in _ENDED else int(stat[_START_TICKS])


def is_stopped(pid: int) -> bool:
    """Return whether a signal (SIGSTOP, SIGTSTP) holds the process; False if it has ended."""
    stat = _stat(pid)
    return stat is not None and stat[_STATE] == _STOPPED


def kill_self() -> None:
    """End this process with SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


def end_with_parent(
    end: Callable[[], None] = kill_self, *, parent: int | None = None, max_stopped_s: int | None = None
) -> None:
    """Call ``end`` from a thread as soon as the parent of this process has ended, however it ended.

    Args:
        end: Ends this process.
        parent: Pid of the process that started this one; by default the present parent.
        max_stopped_s: A parent that a signal has stopped for this time counts as ended; by default it does not.
    """
    pid = os.getppid() if parent is None else parent
    pidfd = os.pidfd_open(pid)
    if os.getppid() != pid:  # it ended before `pidfd_open`; another process may have its pid
        end()
    arguments = (pidfd, pid, max_stopped_s, end)
    threading.Thread(target=_end_after, args=arguments, name="joulegrid-parent", daemon=True).start()


def _end_after(pidfd: int, parent: int, max_stopped_s: int | None, end: Callable[[], None]) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    n_stopped = 0  # polls, not seconds: this process may itself have been suspended
    while not poll.poll(None if max_stopped_s is None else _POLL_MS):
        n_stopped = n_stopped + 1 if is_stopped(parent) else 0
        if max_stopped_s is not None and n_stopped * _POLL_MS >= max_stopped_s * 1000:
            break
    end()


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the process's name; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
