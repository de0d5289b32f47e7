"""The machine of a benchmark: its description, how idle it is, and the CPU time of its processes."""

import datetime
import platform
import time
from importlib.metadata import version
from pathlib import Path

import psutil


def machine(*packages: str) -> str:
    """Return the machine, the versions of ``packages`` and the load average in one line."""
    memory_gib = psutil.virtual_memory().total / 2**30
    software = [f"Python {platform.python_version()}", *(f"{package} {version(package)}" for package in packages)]
    return (
        f"{psutil.cpu_count()} logical CPUs ({_cpu_name()}), {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.release()}, {', '.join(software)}, load average {psutil.getloadavg()[0]:.1f}"
    )


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def today() -> str:
    """Return the date in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def wait_until_quiet(timeout_s: float, busy_share: float = 0.25) -> None:
    """Return once at most ``busy_share`` of the processors was busy during a second, or after ``timeout_s``."""
    end_s = time.monotonic() + timeout_s
    while psutil.cpu_percent(interval=1.0) > 100 * busy_share and time.monotonic() < end_s:
        pass


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and its descendants that still run, at a resolution of nanoseconds. Units: s."""
    first = psutil.Process(pid)
    return sum(_threads_s(each.pid) for each in (first, *first.children(recursive=True)))


def _threads_s(pid: int) -> float:
    """The first number of a thread's schedstat is its time on a CPU, in ns."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9
