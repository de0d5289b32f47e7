"""A sampler in a process of its own, for where this one is too busy to keep a pace: the engine's Python runs in it."""

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
    """What a `Sampler` offers, from a child that ends with this process even if that is killed.

    Every method raises `CollectorError` once the child has ended or does not answer.
    """

    def __init__(self, sources: SourceSpec | Sequence[SourceSpec], period_s: float) -> None:
        specs = (sources,) if isinstance(sources, SourceSpec) else tuple(sources)
        self._order = Order(specs, period_s)
        self._child: subprocess.Popen[bytes] | None = None
        self._asking: Connection | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The child's; None while there is none."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Starts the child and waits until it samples.

        Raises:
            CollectorError: A source cannot be opened there, or the child does not start.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "collectors.sampler_child", str(theirs.fileno()), str(os.getpid())]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # it finds the sources that we find
            self._child = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environment
            )
        self._asking = Connection(ours.detach())
        try:
            self._exchange(self._order, _START_TIMEOUT_S)
        except CollectorError:
            self.stop()
            raise

    def take(self, start_s: float, end_s: float) -> dict[str, dict[str, Column]]:
        """See `Sampler.take`; the clock is the machine's, the same in every process."""
        found: dict[str, dict[str, Column]] = self._ask("take", start_s, end_s)
        return found

    def latest(self, device: str) -> dict[str, Any] | None:
        """See `Sampler.latest`."""
        found: dict[str, Any] | None = self._ask("latest", device)
        return found

    @property
    def running(self) -> bool:
        """Whether the child is there, and has answered so far."""
        return self._asking is not None and self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        """Ends the child; after that nothing can be taken. Again, it does nothing."""
        if self._asking is not None:
            self._asking.close()
            self._asking = None
        if self._child is not None:
            try:
                self._child.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:  # it waits for a sensor; it holds nothing that is worth waiting for
                self._child.kill()
                with suppress(subprocess.TimeoutExpired):  # nothing ends a call into a driver that hangs
                    self._child.wait(_KILL_TIMEOUT_S)
            self._child = None

    def _ask(self, name: str, *arguments: object) -> Any:
        with self._one_at_a_time:
            return self._exchange((name, arguments), _ANSWER_TIMEOUT_S)

    def _exchange(self, question: object, timeout_s: float) -> Any:
        if self._asking is None or self._child is None:
            raise CollectorError("the sampler's process is not running: start it first")
        try:
            self._asking.send(question)
            if not self._asking.poll(timeout_s):
                self._asking.close()  # an answer that comes late would be taken for that to the next question
                self._asking = None
                raise CollectorError(f"the sampler (pid {self._child.pid}) has not answered for {timeout_s:g} s")
            worked, answer = self._asking.recv()
        except (EOFError, OSError) as error:
            raise CollectorError(f"the sampler (pid {self._child.pid}) has ended: {self._how_it_ended()}") from error
        if not worked:
            raise answer
        return answer

    def _how_it_ended(self) -> str:
        assert self._child is not None
        try:
            code = self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            return "its socket is closed though it runs"
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}, see its messages above"
