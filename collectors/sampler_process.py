"""A sampler in a process of its own, for when this process runs an engine and is too busy to sample on time."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from collectors.errors import CollectorError
from collectors.history import Column
from collectors.sampler_child import Order
from collectors.sources import SourceSpec

_START_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 15.0
_KILL_TIMEOUT_S = 5.0


class SamplerProcess:
    """A `Sampler` in a child process that ends with this process, even if this one is killed.

    Every method raises `CollectorError` if the child has ended or does not answer.
    """

    def __init__(self, sources: SourceSpec | Sequence[SourceSpec], period_s: float) -> None:
        specs = (sources,) if isinstance(sources, SourceSpec) else tuple(sources)
        self._order = Order(specs, period_s)
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Of the child; None if there is none."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start the child and wait until it samples.

        Raises:
            CollectorError: A source cannot be opened there, or the child does not start.
        """
        own_end, child_end = socket.socketpair()
        with child_end:
            command = [sys.executable, "-m", "collectors.sampler_child", str(child_end.fileno()), str(os.getpid())]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # so that it can import user sources
            self._child = subprocess.Popen(
                command, pass_fds=[child_end.fileno()], stdin=subprocess.DEVNULL, env=environment
            )
        self._connection = Connection(own_end.detach())
        try:
            self._exchange(self._order, _START_TIMEOUT_S)
        except CollectorError:
            self.stop()
            raise

    def take(self, start_s: float, end_s: float) -> dict[str, dict[str, Column]]:
        """See `Sampler.take`; CLOCK_MONOTONIC is the same in every process of a machine."""
        series: dict[str, dict[str, Column]] = self._call("take", start_s, end_s)
        return series

    def latest(self, device: str) -> dict[str, Any] | None:
        """See `Sampler.latest`."""
        row: dict[str, Any] | None = self._call("latest", device)
        return row

    @property
    def running(self) -> bool:
        """Whether the child lives and has answered every call in time."""
        return self._connection is not None and self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        """End the child; `take` then raises. A second call does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._child is not None:
            try:
                self._child.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:  # a sensor blocks it; it has no state to save
                self._child.kill()
                with suppress(subprocess.TimeoutExpired):  # not even SIGKILL ends a call into a driver that hangs
                    self._child.wait(_KILL_TIMEOUT_S)
            self._child = None

    def _call(self, name: str, *arguments: object) -> Any:
        with self._lock:
            return self._exchange((name, arguments), _ANSWER_TIMEOUT_S)

    def _exchange(self, request: object, timeout_s: float) -> Any:
        if self._connection is None or self._child is None:
            raise CollectorError("the sampler's process is not running: start it first")
        try:
            self._connection.send(request)
            if not self._connection.poll(timeout_s):
                self._connection.close()  # a late answer would be taken for the answer to the next request
                self._connection = None
                raise CollectorError(f"the sampler (pid {self._child.pid}) has not answered for {timeout_s:g} s")
            succeeded, result = self._connection.recv()
        except (EOFError, OSError) as error:
            raise CollectorError(f"the sampler (pid {self._child.pid}) has ended: {self._exit_text()}") from error
        if not succeeded:
            raise result
        return result

    def _exit_text(self) -> str:
        assert self._child is not None
        try:
            code = self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            return "it runs but has closed its socket"
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}, see its messages on standard error"
