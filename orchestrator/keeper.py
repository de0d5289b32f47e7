"""Records kept beside the sweep: several wait for the disk at once, and no free worker waits for them."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Lock
from types import TracebackType
from typing import Self

from orchestrator.execution.scheduler import Finished
from orchestrator.records.record import CellRecord

_WRITERS = 8
_MOST_WAITING = 16


class Keeper:
    """A context manager that hands ends of cells to ``write`` in threads, and the records written to ``on_record``.

    Each record is as durable as ``write`` makes it before ``on_record`` is told of it, one at a time. At most 16 ends
    wait: what a crash can cost beside the cells in flight. An error of either is raised when the block ends.
    """

    def __init__(self, write: Callable[[Finished], CellRecord], on_record: Callable[[CellRecord], None]) -> None:
        self._write = write
        self._on_record = on_record
        self._telling = Lock()
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="joulegrid-store")
        self._waiting: set[Future[None]] = set()
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        """Nothing is needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all that was taken is kept."""
        self._pool.shutdown()
        self._collect()
        if self._error is not None and raised is None:
            raise self._error

    def take(self, finished: Finished) -> None:
        """Keep the end of a cell soon; waits while too many do."""
        while len(self._waiting) >= _MOST_WAITING:
            wait(self._waiting, return_when=FIRST_COMPLETED)
            self._collect()
        self._waiting.add(self._pool.submit(self._keep, finished))

    def failed(self) -> bool:
        """Whether something could not be kept, so that nothing more should be begun."""
        self._collect()
        return self._error is not None

    def _keep(self, finished: Finished) -> None:
        record = self._write(finished)
        with self._telling:
            self._on_record(record)

    def _collect(self) -> None:
        done = {future for future in self._waiting if future.done()}
        self._waiting -= done
        for future in done:
            self._error = self._error or future.exception()
