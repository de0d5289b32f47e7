"""Who controls a GPU: a process, told apart from a later one of the same id, of this boot of this machine."""

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

_AFTER_NAME_TO_START = 19
"""proc(5): the start time is field 22; what follows the name in parentheses begins with field 3."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process. `start_ticks` are clock ticks since boot, as in /proc: no change of the wall clock moves them."""

    pid: int
    start_ticks: int
    host: str
    role: str

    @classmethod
    def this(cls, role: str) -> Self:
        """This process."""
        return cls(os.getpid(), start_ticks(os.getpid()) or 0, socket.gethostname(), role)

    @classmethod
    def parsed(cls, text: str) -> Self | None:
        """What `told` wrote; None for anything else, a line half written included."""
        try:
            found = json.loads(text)
            return cls(int(found["pid"]), int(found["start_ticks"]), str(found["host"]), str(found["role"]))
        except (ValueError, KeyError, TypeError):
            return None

    def told(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended: nobody of its id, or another, is on this host."""
        return self.host == socket.gethostname() and start_ticks(self.pid) != self.start_ticks

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}"


def start_ticks(pid: int) -> int | None:
    """When a process started; None where there is none, or only what its parent has not waited for."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] in "ZX" else int(after_name[_AFTER_NAME_TO_START])


def boot_id() -> str:
    """Of this boot of the kernel; containers of one machine share it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
