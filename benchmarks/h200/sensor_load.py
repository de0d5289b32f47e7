"""A load on the GPU in a process of its own, which a line of JSON tells what to do: so nothing disturbs the polling.

Its first line is ``{"ready": {…}}`` or ``{"missing": why}``. It answers ``{"open": true}`` with what it opened, and
``{"begin_s", "on_s", "off_s", "turns"}`` with ``{"edges_s": [[on, off], …]}``. Times are CLOCK_MONOTONIC.
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


class Missing(Exception):
    """There is no load to be had here; the text says why."""


class Work(Protocol):
    """What keeps a GPU busy."""

    def open(self) -> dict[str, Any]:
        """Takes the GPU; what to know of the work.

        Raises:
            Missing: it cannot be had.
        """

    def busy(self, until_s: float) -> float:
        """Keeps it busy until about then; when it had done all."""


def serve(work: Work, ready: Mapping[str, Any]) -> None:
    """Do what standard input says, to its end."""
    _say({"ready": dict(ready)})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            _say(work.open() if "open" in asked else {"edges_s": wave(work, **asked)})
        except Missing as error:
            _say({"missing": str(error)})


def wave(work: Work, begin_s: float, on_s: float, off_s: float, turns: int) -> list[list[float]]:
    """Work and rest in turn, each turn begun at its own time; when each of them was on and off."""
    edges_s = []
    for turn in range(turns):
        start_s = begin_s + turn * (on_s + off_s)
        _sleep_until(start_s)
        begun_s = time.monotonic()
        edges_s.append([begun_s, work.busy(start_s + on_s)])
    return edges_s


class Load:
    """The process, from the side of who asks.

    Every method raises `Missing` where it has ended or says that it cannot.
    """

    def __init__(self, module: str, gpu: int, limit_s: float) -> None:
        """``module`` is run, and killed after ``limit_s``: nothing waits for a load that hangs."""
        environment = {"CUDA_VISIBLE_DEVICES": str(gpu), **os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._module = module
        self._owed = 0
        self._killer = threading.Timer(limit_s, self._process.kill)
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

    def ready(self) -> dict[str, Any]:
        """Waits until it is."""
        found: dict[str, Any] = self.answer()["ready"]
        return found

    def open(self) -> dict[str, Any]:
        """Takes the GPU."""
        self._ask({"open": True})
        return self.answer()

    def begin(self, begin_s: float, on_s: float, off_s: float, turns: int) -> None:
        """Does not wait: `edges_s` does. An answer that nobody took is let go."""
        while self._owed:
            self.answer()
        self._ask({"begin_s": begin_s, "on_s": on_s, "off_s": off_s, "turns": turns})

    def edges_s(self) -> list[list[float]]:
        """On and off of what was begun, once it is over."""
        found: list[list[float]] = self.answer()["edges_s"]
        return found

    def answer(self) -> dict[str, Any]:
        """The next line that is an answer; libraries may print others."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._owed = max(0, self._owed - 1)
                found: dict[str, Any] = json.loads(line)
                if "missing" in found:
                    raise Missing(found["missing"])
                return found
        raise Missing(f"{self._module} ended with exit status {self._process.wait()}")

    def _ask(self, question: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            self._owed += 1
        except BrokenPipeError as error:
            raise Missing(f"{self._module} has ended") from error


def _say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _sleep_until(when_s: float) -> None:
    """To some microseconds: it spins at the end."""
    time.sleep(max(0.0, when_s - time.monotonic() - _SPIN_S))
    while time.monotonic() < when_s:
        pass
