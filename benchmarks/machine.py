"""On what, and when, a benchmark ran."""

import datetime
import platform
from pathlib import Path

import psutil


def machine() -> str:
    """The machine in a line, with how busy it was."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} logical CPUs ({_cpu_name()}), {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, load average {psutil.getloadavg()[0]:.1f}"
    )


def today() -> str:
    """The date of the run."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
