"""Watchdog: an engine whose callers never wait for an answer that cannot come."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pyarrow as pa

from orchestrator.errors import InfrastructureError
from orchestrator.serving.engine import Engine, EngineStart
from orchestrator.spec.cell import Cell
from workflows.request import Completion, Request

_POLL_S = 0.25
_ABORT_TIMEOUT_S = 10.0

T = TypeVar("T")


class WatchedEngine:
    """An engine whose calls raise `InfrastructureError` once it has trouble or makes no progress."""

    def __init__(self, engine: Engine) -> None:
        """Wrap ``engine``; it is watched from the first `begin` on."""
        self._engine = engine
        self._lost: str | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._calls: set[asyncio.Task[Any]] = set()
        self._watch_task: asyncio.Task[None] | None = None
        self._n_ended = 0

    async def start(self) -> EngineStart:
        """Start the engine; the caller must bound the time of a start."""
        return await self._engine.start()

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Abort the requests of the previous cell, then begin this one.

        Raises:
            InfrastructureError: the engine is lost, or requests of the previous cell do not end.
        """
        await self.abort()
        if self._watch_task is None:
            self._watch_task = asyncio.create_task(self._watch())
        self._stall_timeout_s = cell.protocol.stall_timeout_s
        await self._guarded(self._engine.begin(cell, origin_s))

    async def generate(self, request: Request) -> Completion:
        """Answer one request, or raise what happened to the engine."""
        return await self._guarded(self._engine.generate(request))

    async def series(self) -> dict[str, pa.Table]:
        """Return the series that the engine recorded since `begin`."""
        return await self._guarded(self._engine.series())

    def progress(self) -> int:
        """Return the progress of the engine."""
        return self._engine.progress()

    def trouble(self) -> str | None:
        """Return why the engine is lost; None if it is not."""
        return self._lost or self._engine.trouble()

    async def abort(self) -> None:
        """Cancel every call in flight.

        Raises:
            InfrastructureError: a call does not end.
        """
        tasks = set(self._calls)
        for task in tasks:
            task.cancel()
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=_ABORT_TIMEOUT_S)
            if pending:
                raise InfrastructureError(
                    f"{len(pending)} requests were aborted and do not end in {_ABORT_TIMEOUT_S:g} s"
                )

    async def close(self) -> None:
        """Stop watching and close the engine."""
        if self._watch_task is not None:
            self._watch_task.cancel()
        await self._engine.close()

    async def _guarded(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of ``work``, or raise if the engine is lost first."""
        if self._lost is not None:
            work.close()
            raise InfrastructureError(self._lost)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: _wake(woken))
        task.add_done_callback(self._on_end)
        self._calls.add(task)
        self._waiters.add(woken)
        try:
            await woken
        finally:
            self._waiters.discard(woken)
            if not task.done():
                task.cancel()
        if task.done() and not task.cancelled():
            return task.result()
        raise InfrastructureError(self._lost or "the request was aborted")

    def _on_end(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        self._n_ended += 1
        if not task.cancelled():
            task.exception()  # retrieve it, or asyncio warns about an exception that was never retrieved

    async def _watch(self) -> None:
        """Wait until the engine is lost, then wake all callers."""
        try:
            await self._until_lost()
        except Exception as error:  # supervisor: an engine that cannot be watched counts as lost
            self._lost = f"the engine cannot be watched: {type(error).__name__}: {error}"
        for woken in tuple(self._waiters):
            _wake(woken)

    async def _until_lost(self) -> None:
        """Poll the engine until it has trouble or has stalled."""
        last, last_change_s = self._progress(), time.monotonic()
        while self._lost is None:
            await asyncio.sleep(_POLL_S)
            current, now_s = self._progress(), time.monotonic()
            if current != last or not self._calls:
                last, last_change_s = current, now_s
            self._lost = self._engine.trouble() or self._stall_text(now_s - last_change_s)

    def _progress(self) -> tuple[int, int]:
        return self._n_ended, self._engine.progress()

    def _stall_text(self, silent_s: float) -> str | None:
        if silent_s < self._stall_timeout_s:
            return None
        return (
            f"the engine stalled: {len(self._calls)} calls in flight and not one token in {silent_s:.0f} s "
            "(protocol.stall_timeout_s)"
        )


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
