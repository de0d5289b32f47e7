"""The processes of an engine: the core that vLLM starts, its workers, and whatever they start."""

import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

_GONE = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
_IS_STOPPED = "is stopped"
_RUNS = (None, _IS_STOPPED)
_POLL_S = 0.02


@dataclass(slots=True)
class EngineProcesses:
    """Descendants of this process that came while an engine started; kept, for one whose parent died is lost."""

    _others: frozenset[int] | None = None
    _found: dict[int, psutil.Process] = field(default_factory=dict)
    _serving: dict[int, psutil.Process] = field(default_factory=dict)

    def expect(self) -> None:
        """The engine is about to start: children that come before it is ready are its own, one engine at a time."""
        self._others = frozenset(process.pid for process in psutil.Process().children())

    def look(self) -> None:
        """Note those that have come since: children while the engine starts, descendants of the known at any time."""
        if self._others is not None:
            for process in psutil.Process().children():
                if process.pid not in self._others | self._found.keys() and not _is_pythons_own(process):
                    self._found[process.pid] = process
        for parent in list(self._found.values()):
            self._found |= {child.pid: child for child in _children(parent)}

    def settle(self) -> None:
        """The engine is ready: tell those that serve from helpers that come and go, which are no loss."""
        self.look()
        self._others = None
        alive = {pid: process for pid, process in self._found.items() if _state(process) in _RUNS}
        self._serving = {pid: process for pid, process in alive.items() if _is_vllms(process)} or alive

    @property
    def pids(self) -> tuple[int, ...]:
        """Of those that serve, the engine core first."""
        return tuple(self._serving)

    def trouble(self) -> str | None:
        """What is wrong with the first that is gone or stopped; None if all of them live."""
        for pid, process in self._serving.items():
            state = _state(process)
            if state is not None:
                name = "engine core" if pid == self.pids[0] else "worker"
                return f"vLLM's {name} (process {pid}) {state}"
        return None

    def stopped(self) -> str | None:
        """Which of them was stopped by a signal, and will not go on by itself."""
        for pid, process in self._found.items():
            if _state(process) == _IS_STOPPED:
                return f"vLLM's process {pid} {_IS_STOPPED}"
        return None

    def end(self, timeout_s: float) -> None:
        """Wait for all to end, then kill the others; afterwards none is left.

        Args:
            timeout_s: how long they have to end by themselves.
        """
        self._wait(timeout_s)
        self.kill()
        self._wait(timeout_s)
        for process in self._found.values():
            with suppress(psutil.TimeoutExpired):  # one that is not ours is for init to reap
                process.wait(timeout=0)

    def _wait(self, timeout_s: float) -> None:
        """Until none runs any more; psutil's own waits for those of others to be reaped, which may be never."""
        deadline_s = time.monotonic() + timeout_s
        while any(_state(process) in _RUNS for process in self._found.values()) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """End all of them at once."""
        for process in self._found.values():
            _kill(process)


def exit_text(code: int | None) -> str:
    """How a process ended, by the exit code Python gives it."""
    if code is None:
        return "is gone"
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _state(process: psutil.Process) -> str | None:
    try:
        status = process.status() if process.is_running() else psutil.STATUS_DEAD  # not another with the same id
    except psutil.NoSuchProcess:
        return "is gone"
    if status in _GONE:
        return "has ended"
    return _IS_STOPPED if status in _STOPPED else None


def _children(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _is_vllms(process: psutil.Process) -> bool:
    """Whether it is a core or a worker: Python spawned it, or it has named itself."""
    try:
        return process.name().startswith("VLLM") or "--multiprocessing-fork" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def _is_pythons_own(process: psutil.Process) -> bool:
    """Whether it is multiprocessing's resource tracker, which belongs to this process."""
    try:
        return any("resource_tracker" in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return True


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
