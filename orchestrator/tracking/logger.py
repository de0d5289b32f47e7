"""The logger thread: log cells to MLflow during the sweep; an outage neither fails nor slows the sweep."""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.errors import EnvironmentFailure
from orchestrator.spec.settings import TrackingSettings
from orchestrator.store.sweep import SweepStore
from orchestrator.tracking.mlflow_sink import MlflowSink
from orchestrator.tracking.sweep_log import SweepLog

_RETRY_S = (5.0, 20.0, 60.0)
_MAX_TRIES = 3
_TRIES_ON_CLOSE = 2
_TIMEOUT_ON_CLOSE_S = 5.0
_GRACE_S = 3.0
_POLL_S = 0.1

Connect = Callable[[TrackingSettings], MlflowSink]


@dataclass(frozen=True, slots=True)
class LogSummary:
    """Numbers of cells logged, and of cells ``left`` for ``sync`` because of ``problem``."""

    logged: int
    left: int
    problem: str | None


class Logger:
    """Logs a sweep on its own thread. ``submit`` never blocks; ``close`` waits for the queue.

    Cells that earlier drivers left unlogged are logged as well. After an outage it tries again at growing intervals,
    and on ``close``. ``warn`` is called once, from the thread.
    """

    def __init__(
        self,
        store: SweepStore,
        settings: TrackingSettings,
        *,
        warn: Callable[[str], None],
        connect: Connect = MlflowSink.connect,
    ) -> None:
        self._store = store
        self._settings = settings
        self._warn = warn
        self._connect = connect
        self._log: SweepLog | None = None
        self._inbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._pending: dict[str, int] = {}
        self._logged = 0
        self._failures = 0
        self._problem: str | None = None
        self._retry_at_s = 0.0
        self._closing = False
        self._ended = False
        self._close_requested_s = math.inf
        self._served_s = self._failed_s = -math.inf
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="joulegrid-mlflow", daemon=True)
        self._thread.start()

    def submit(self, cell_id: str) -> None:
        """Queue a cell whose record is on disk."""
        self._inbox.put(cell_id)

    def close(self, stop: Callable[[], bool] = lambda: False, grace_s: float = _GRACE_S) -> LogSummary:
        """Log the queue, update the sweep's parent run and end the thread. A second call does nothing.

        Wait as long as cells are being logged, but only ``grace_s`` after ``stop`` returns true; leave the rest for
        ``sync``. A server that does not respond costs the timeout of one call, not of every retry.
        """
        self._close_requested_s = self._served_s = time.monotonic()
        self._inbox.put(None)
        self._join(stop, grace_s)
        self._stop.set()
        left = len({*self._pending, *(item for item in self._received() if item is not None)})
        if self._ended and not left:
            return LogSummary(self._logged, 0, None)
        if self._problem is None:
            self._report("MLflow was not done in time")
        return LogSummary(self._logged, left, self._problem)

    def _join(self, stop: Callable[[], bool], grace_s: float) -> None:
        until_s = math.inf
        while self._thread.is_alive() and time.monotonic() < until_s:
            self._thread.join(_POLL_S)
            if until_s == math.inf and stop():
                until_s = time.monotonic() + grace_s

    def _work(self) -> None:
        self._try()
        while not self._closing:
            self._receive()
            if not self._closing and time.monotonic() >= self._retry_at_s:
                self._try()
        for _ in range(_TRIES_ON_CLOSE):
            if not self._ended and not self._stop.is_set() and self._may_retry_on_close():
                self._try()
            if self._log is None:
                return

    def _may_retry_on_close(self) -> bool:
        """Return False if ``close`` has already waited for the server in vain."""
        return self._failed_s < self._close_requested_s or self._failed_s - self._served_s < _TIMEOUT_ON_CLOSE_S

    def _try(self) -> None:
        # A supervisor: no failure of tracking may fail the sweep, whose results are on disk already.
        self._served_s = time.monotonic()
        try:
            log = self._opened()
            while (cell_id := self._next()) is not None:
                self._log_cell(log, cell_id)
                self._receive_waiting()
            if self._closing and not self._stop.is_set():
                log.log_sweep()
                self._ended = True
        except Exception as error:
            self._fail(error if isinstance(error, EnvironmentFailure) else f"{type(error).__name__}: {error}")

    def _opened(self) -> SweepLog:
        if self._log is None:
            log = SweepLog(self._connect(self._settings), self._store)
            log.open()
            for cell_id in log.unlogged():
                self._pending.setdefault(cell_id, 0)
            self._log = log
        return self._log

    def _next(self) -> str | None:
        if self._stop.is_set():
            return None
        return next((cell_id for cell_id, tries in self._pending.items() if tries < _MAX_TRIES), None)

    def _log_cell(self, log: SweepLog, cell_id: str) -> None:
        try:
            self._logged += log.log_cell(cell_id)
        except BaseException:
            self._pending[cell_id] = self._pending.pop(cell_id) + 1  # to the end, so that it does not block the others
            raise
        del self._pending[cell_id]
        self._failures = 0
        self._served_s = time.monotonic()

    def _report(self, problem: str) -> None:
        if self._problem is None:
            self._warn(f"{problem}; the sweep goes on and keeps its results: `sync {self._store.sweep_id}` logs them")
        self._problem = problem

    def _fail(self, problem: object) -> None:
        self._report(str(problem))
        self._failures += 1
        self._failed_s = time.monotonic()
        waits = [*_RETRY_S, math.inf]
        self._retry_at_s = self._failed_s + waits[min(self._failures, len(waits)) - 1]

    def _receive(self) -> None:
        """Wait for a cell, for ``close``, or for the time to try again."""
        due = self._next() is not None and self._retry_at_s < math.inf
        try:
            self._take(self._inbox.get(timeout=max(0.0, self._retry_at_s - time.monotonic()) if due else None))
        except queue.Empty:
            return
        self._receive_waiting()

    def _receive_waiting(self) -> None:
        for item in self._received():
            self._take(item)

    def _received(self) -> Iterator[str | None]:
        while True:
            try:
                yield self._inbox.get_nowait()
            except queue.Empty:
                return

    def _take(self, item: str | None) -> None:
        if item is None:
            self._closing = True
            self._pending = dict.fromkeys(self._pending, _MAX_TRIES - 1)
        else:
            self._pending[item] = 0
