"""A GPU load in a process of its own, so that it does not disturb the polling. Times are CLOCK_MONOTONIC, in s.

The process prints ``{"ready": {...}}`` or ``{"missing": reason}``. On standard input it answers ``{"open": true}`` with
facts of the load, and ``{"begin_s", "on_s", "off_s", "turns"}`` with ``{"edges_s": [[on, off], ...]}``.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol, Self

_SPIN_S = 0.001
_CLOSE_TIMEOUT_S = 20.0

Edges = list[tuple[float, float]]
"""When the load was switched on and off."""


class LoadMissing(Exception):
    """The GPU cannot be loaded; the message says why."""


class Work(Protocol):
    """The work that keeps a GPU busy, in the load's process."""

    def open(self) -> dict[str, Any]:
        """Allocate memory on the GPU; return facts of the load. Raise `LoadMissing` if the GPU cannot be used."""

    def busy(self, until_s: float) -> float:
        """Keep the GPU busy until about ``until_s``; return when it became idle."""


def serve(work: Work, facts: Mapping[str, Any]) -> None:
    """Run the load's process: execute the orders on standard input until it ends."""
    send({"ready": dict(facts)})
    for line in sys.stdin:
        order = json.loads(line)
        try:
            send(work.open() if "open" in order else {"edges_s": wave(work, **order)})
        except LoadMissing as error:
            send({"missing": str(error)})


def send(answer: Mapping[str, Any]) -> None:
    """Print one line of the protocol."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def wave(work: Work, begin_s: float, on_s: float, off_s: float, turns: int) -> Edges:
    """Switch the load on and off; every turn starts at its own deadline, so that delays do not add up."""
    edges_s = []
    for turn in range(turns):
        start_s = begin_s + turn * (on_s + off_s)
        time.sleep(max(0.0, start_s - time.monotonic() - _SPIN_S))
        while time.monotonic() < start_s:
            pass
        edges_s.append((time.monotonic(), work.busy(start_s + on_s)))
    return edges_s


class LoadProcess:
    """The load's process, seen from the parent. Every method raises `LoadMissing` if it has ended or cannot work."""

    def __init__(self, module: str, gpu_uuid: str, timeout_s: float) -> None:
        """Run ``module`` on one GPU; kill it after ``timeout_s``, so that nothing waits for a load that hangs."""
        self._name, self._timeout_s, self._timed_out = module.rpartition(".")[2], timeout_s, False
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu_uuid},
        )
        self._killer = threading.Timer(timeout_s, self._kill)
        self._killer.daemon = True
        self._killer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._killer.cancel()
        self._process.stdout.close()

    def open(self) -> dict[str, Any]:
        """Wait until the process is ready, then create the context on the GPU; once. Return facts of the load."""
        facts: dict[str, Any] = self._answer()["ready"]
        self._order({"open": True})
        return facts | self._answer()

    def begin(self, begin_s: float, on_s: float, off_s: float, turns: int) -> None:
        """Start a wave without waiting for it; `edges_s` waits."""
        self._order({"begin_s": begin_s, "on_s": on_s, "off_s": off_s, "turns": turns})

    def edges_s(self) -> Edges:
        """Wait for the end of the wave that was begun last; return its edges."""
        return [(on_s, off_s) for on_s, off_s in self._answer()["edges_s"]]

    def _answer(self) -> dict[str, Any]:
        """Return the next line that is an answer; libraries may print others."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                if "missing" in answer:
                    raise LoadMissing(answer["missing"])
                return answer
        code = self._process.wait()
        end = f"was killed after {self._timeout_s:g} s" if self._timed_out else f"ended with exit status {code}"
        raise LoadMissing(f"the load {self._name} {end}")

    def _kill(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _order(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise LoadMissing(f"the load {self._name} has ended") from error
