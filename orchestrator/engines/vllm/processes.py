"""The processes of an engine: vLLM's core, its workers, and all processes that these start."""

import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

_ENDED_STATES = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_STOPPED_STATES = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
_IS_STOPPED = "is stopped"
_ALIVE = (None, _IS_STOPPED)
_POLL_S = 0.02


@dataclass(slots=True)
class EngineProcesses:
    """Descendants of this process that were started with an engine.

    They are kept once seen, because a process whose parent has ended can no longer be found as a descendant.
    """

    _earlier_children: frozenset[int] | None = None
    _known: dict[int, psutil.Process] = field(default_factory=dict)
    _serving: dict[int, psutil.Process] = field(default_factory=dict)

    def expect(self) -> None:
        """Track child processes that start from now until `mark_ready`; only one engine may start at a time."""
        self._earlier_children = frozenset(process.pid for process in psutil.Process().children())

    def scan(self) -> None:
        """Add new children of this process while the engine starts, and new descendants of known processes."""
        if self._earlier_children is not None:
            for process in psutil.Process().children():
                is_new = process.pid not in self._earlier_children | self._known.keys()
                if is_new and not _is_resource_tracker(process):
                    self._known[process.pid] = process
        for parent in list(self._known.values()):
            self._known |= {child.pid: child for child in _descendants(parent)}

    def mark_ready(self) -> None:
        """Note that the engine is ready: processes of vLLM serve from now on; short-lived helpers do not count."""
        self.scan()
        self._earlier_children = None
        alive = {pid: process for pid, process in self._known.items() if _problem(process) in _ALIVE}
        self._serving = {pid: process for pid, process in alive.items() if _is_vllm(process)} or alive

    @property
    def pids(self) -> tuple[int, ...]:
        """The serving processes, the engine core first."""
        return tuple(self._serving)

    def trouble(self) -> str | None:
        """Return the problem of the first serving process that has ended or is stopped; None if all run."""
        for pid, process in self._serving.items():
            problem = _problem(process)
            if problem is not None:
                name = "engine core" if pid == self.pids[0] else "worker"
                return f"vLLM's {name} (process {pid}) {problem}"
        return None

    def stopped(self) -> str | None:
        """Return the first known process that is stopped by a signal as text; None if there is none."""
        for pid, process in self._known.items():
            if _problem(process) == _IS_STOPPED:
                return f"vLLM's process {pid} {_IS_STOPPED}"
        return None

    def end(self, timeout_s: float) -> None:
        """Wait up to ``timeout_s`` until all known processes have ended, then kill the rest."""
        self._wait(timeout_s)
        self.kill()
        self._wait(timeout_s)
        for process in self._known.values():
            with suppress(psutil.TimeoutExpired):  # only its parent can reap a process
                process.wait(timeout=0)

    def _wait(self, timeout_s: float) -> None:
        """Wait until none runs. psutil's own wait would also wait until other parents have reaped their children."""
        deadline_s = time.monotonic() + timeout_s
        while any(_problem(process) in _ALIVE for process in self._known.values()) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """Send SIGKILL to all known processes."""
        for process in self._known.values():
            with suppress(psutil.NoSuchProcess):
                process.kill()


def exit_text(code: int | None) -> str:
    """Return how a process ended, from the exit code that Python reports."""
    if code is None:
        return "is gone"
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _problem(process: psutil.Process) -> str | None:
    """Return why a process does not run; None if it runs."""
    try:
        status = process.status() if process.is_running() else psutil.STATUS_DEAD  # its PID may have been reused
    except psutil.NoSuchProcess:
        return "is gone"
    if status in _ENDED_STATES:
        return "has ended"
    return _IS_STOPPED if status in _STOPPED_STATES else None


def _descendants(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _is_vllm(process: psutil.Process) -> bool:
    """Return whether it is a core or a worker: spawned by ``multiprocessing``, or with a name of vLLM."""
    try:
        return process.name().startswith("VLLM") or "--multiprocessing-fork" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def _is_resource_tracker(process: psutil.Process) -> bool:
    """Return whether it is the resource tracker of ``multiprocessing``, which belongs to this process."""
    try:
        return any("resource_tracker" in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return True
