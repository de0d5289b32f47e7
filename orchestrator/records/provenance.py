"""Where, when and with which software a result was made. The only module that reads the wall clock."""

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
from collectors import processes

VOLATILE = ("clock.", "boot_id")
"""Prefixes of the keys that differ between any two starts."""

_DISTRIBUTIONS = ("ray", "mlflow", "hydra-core", "numpy")
_GIT_TIMEOUT_S = 10.0


def collect() -> dict[str, Any]:
    """Return all of it for this process, as plain data for a manifest or a record."""
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


def unix_now_s() -> float:
    """Return the wall clock, for time stamps; durations come from a monotonic clock. Units: s since 1970."""
    return time.time()  # noqa: TID251 - the one source of time stamps


def clock_anchor() -> dict[str, float]:
    """Return one instant on both clocks, so that monotonic times of different hosts can be compared."""
    return {"unix_s": unix_now_s(), "monotonic_s": time.monotonic()}


def boot_id() -> str | None:
    """What tells this boot of the machine from any other; None where the kernel has no such file."""
    return processes.boot_id() or None


def versions() -> dict[str, str]:
    """Return the versions of Python, Joulegrid and its main libraries, without importing them."""
    known = {"joulegrid": orchestrator.__version__, "python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return known


@cache
def git_state() -> dict[str, Any] | None:
    """Return the commit of the package's checkout, and whether files differ from it; None outside a checkout."""
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
