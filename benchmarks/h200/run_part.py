"""One part as a process: its output is shown and kept, and it ends in time as if by Ctrl-C."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ENDS_S = 25.0
"""From Ctrl-C to the end: the product takes 10 s, others as long as a request of theirs."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a part ended; ``output`` is all it printed. Units: s."""

    code: int
    output: str
    seconds: float

    @property
    def line(self) -> dict[str, Any]:
        """What a command of the product says of itself at its end; empty where it did not come that far."""
        for line in reversed(self.output.splitlines()):
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        return {}


def run_part(command: Sequence[str], *, until_s: float, log: Path, env: Mapping[str, str]) -> Ended:
    """Run a command until it ends, or, from ``until_s`` on the monotonic clock, until it obeys Ctrl-C or is killed."""
    began_s = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **env},
        start_new_session=True,
    )
    lines: list[str] = []
    reader = threading.Thread(target=_follow, args=(process.stdout, lines, log))
    reader.start()
    try:
        code = _ended(process, until_s)
    finally:
        _kill(process)
        reader.join(timeout=ENDS_S)
    return Ended(code, "".join(lines), time.monotonic() - began_s)


def _ended(process: "subprocess.Popen[str]", until_s: float) -> int:
    for stop in (signal.SIGINT, signal.SIGTERM):
        try:
            return process.wait(max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(stop)
            until_s = time.monotonic() + (ENDS_S if stop == signal.SIGINT else ENDS_S / 5)
    try:
        return process.wait(ENDS_S / 5)
    except subprocess.TimeoutExpired:
        _kill(process)
        return process.wait()


def _kill(process: "subprocess.Popen[str]") -> None:
    """Whatever the part has left of its processes, too."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _follow(output: IO[str] | None, lines: list[str], log: Path) -> None:
    assert output is not None
    with output, log.open("a", encoding="utf-8") as kept:
        for line in output:
            lines.append(line)
            print(line, end="", flush=True)
            kept.write(line)
            kept.flush()
