"""The folder of an engine, named for its owner, so that one that was killed leaves nothing for good."""

import os
import re
import shutil
import tempfile
import uuid
from pathlib import Path

_NAME = re.compile(r"^joulegrid-vllm-(\d+)-(\d+)-(\d+)-[0-9a-f]{32}$")
_START_FIELD = 22
"""Of /proc/PID/stat, see proc(5): clock ticks from the boot to the start of the process."""


def new_folder() -> Path:
    """A path for an engine of this process; it is not made."""
    owner = f"{_pid_namespace()}-{os.getpid()}-{_started_ticks(os.getpid())}"
    return Path(tempfile.gettempdir()) / f"joulegrid-vllm-{owner}-{uuid.uuid4().hex}"


def remove_abandoned() -> None:
    """Remove this user's folders whose owner is gone; an owner in another container cannot be seen, and is left."""
    for folder in Path(tempfile.gettempdir()).glob("joulegrid-vllm-*"):
        match = _NAME.match(folder.name)
        if match is None:
            continue
        namespace, pid, started_ticks = map(int, match.groups())
        if namespace == _pid_namespace() and started_ticks != _started_ticks(pid):
            shutil.rmtree(folder, ignore_errors=True)  # of another user: may not be removed


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - the link leads nowhere a path could follow


def _started_ticks(pid: int) -> int | None:
    """When a process started; None if there is none. Unlike its time of day it never shifts with the clock."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    behind_name = stat.rpartition(")")[2].split()  # begins with the third field
    return int(behind_name[_START_FIELD - 3])
