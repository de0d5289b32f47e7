"""Run one part as a process, stop it in time as by Ctrl-C, and store its output and the logs of its engines."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

STOP_TIMEOUT_S = 25.0
"""Time from Ctrl-C to the end of a part: a sweep needs 10 s, a benchmark as long as one of its requests."""

_LOG_PERIOD_S = 1.0


@dataclass(frozen=True, slots=True)
class PartResult:
    """Exit code and duration of a part, and all that it printed. Units: s."""

    code: int
    output: str
    seconds: float

    @property
    def line(self) -> dict[str, Any]:
        """The last line of JSON, which a command prints at its end; empty if it printed none."""
        for line in reversed(self.output.splitlines()):
            if line.startswith("{"):
                last: dict[str, Any] = json.loads(line)
                return last
        return {}


def run_part(command: Sequence[str], *, until_s: float, log: Path, env: Mapping[str, str]) -> PartResult:
    """Run a command; at ``until_s`` on the monotonic clock, interrupt it as by Ctrl-C, then kill it."""
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
        code = _wait(process, until_s)
    finally:
        _kill(process)
        reader.join(timeout=STOP_TIMEOUT_S)
    return PartResult(code, "".join(lines), time.monotonic() - began_s)


def _wait(process: "subprocess.Popen[str]", until_s: float) -> int:
    for stop in (signal.SIGINT, signal.SIGTERM):
        try:
            return process.wait(max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(stop)
            until_s = time.monotonic() + (STOP_TIMEOUT_S if stop == signal.SIGINT else STOP_TIMEOUT_S / 5)
    try:
        return process.wait(STOP_TIMEOUT_S / 5)
    except subprocess.TimeoutExpired:
        _kill(process)
        return process.wait()


def _kill(process: "subprocess.Popen[str]") -> None:
    """Kill all processes that the part has left."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _follow(output: IO[str] | None, lines: list[str], log: Path) -> None:
    assert output is not None
    with output, log.open("a", encoding="utf-8") as file:
        for line in output:
            lines.append(line)
            print(line, end="", flush=True)
            file.write(line)
            file.flush()


class EngineLogs:
    """A context manager that copies the log of every running vLLM engine into ``folder``, one file each.

    It copies while the engine runs, because the engine's own folder is removed at its end.
    """

    def __init__(self, folder: Path, engines: Path | None = None) -> None:
        self._folder = folder
        self._engines = Path(tempfile.gettempdir()) if engines is None else engines
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self) -> Self:
        """Start copying."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Copy a last time and stop."""
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(_LOG_PERIOD_S):
            self._copy()
        self._copy()

    def _copy(self) -> None:
        for log in self._engines.glob("joulegrid-vllm-*/engine.log"):
            try:
                shutil.copyfile(log, self._folder / f"{log.parent.name}.log")
            except FileNotFoundError:
                continue  # the engine has ended
