"""Where, when and with what a result was made. The one place that reads the wall clock."""

import os
import platform
import shutil
import socket
import subprocess
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import orchestrator

_DISTRIBUTIONS = ("ray", "mlflow", "hydra-core", "numpy")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_GIT_TIMEOUT_S = 10.0


def unix_now_s() -> float:
    """The wall clock, for stamps people read; durations come from a monotonic clock. Units: s since 1970."""
    return time.time()  # noqa: TID251 - the stamps' one source


def clock_anchor() -> dict[str, float]:
    """One instant on both clocks, so that monotonic times of different hosts can be laid side by side."""
    return {"unix_s": unix_now_s(), "monotonic_s": time.monotonic()}


def boot_id() -> str | None:
    """What tells this boot of the machine from any other; None where the kernel has no such file."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None


def versions() -> dict[str, str]:
    """Versions of Python, Joulegrid and what it stands on, read without importing any of them."""
    found = {"joulegrid": orchestrator.__version__, "python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_state() -> dict[str, Any] | None:
    """Commit of the checkout the package runs from and whether files differ from it; None outside a checkout."""
    root = Path(orchestrator.__file__).resolve().parent.parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "dirty": changes is None or changes != ""}


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def collect() -> dict[str, Any]:
    """Everything above about this process's machine, as plain data for a manifest or a record."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "kernel": platform.release(),
        "cpu_count": os.cpu_count(),
        "boot_id": boot_id(),
        "versions": versions(),
        "git": git_state(),
        "clock": clock_anchor(),
    }
