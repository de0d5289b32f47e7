"""CPU time of processes, finer than the hundredths of a second that `ps` counts in."""

from pathlib import Path

import psutil


def cpu_s(pid: int) -> float:
    """What a process and its descendants have used so far, of the threads and processes that are still there."""
    first = psutil.Process(pid)
    return sum(_threads_s(each.pid) for each in (first, *first.children(recursive=True)))


def _threads_s(pid: int) -> float:
    """The first number of a thread's schedstat is its time on a CPU, in ns."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9
