"""An engine that cannot keep a caller waiting for ever: seen from beside, lost as soon as it is in trouble."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pyarrow as pa

from orchestrator.errors import InfrastructureError
from orchestrator.serving.engine import Engine, EngineStart
from orchestrator.spec.cell import Cell
from workflows.request import Completion, Request

_LOOK_EVERY_S = 0.25
_ABORT_TIMEOUT_S = 10.0

T = TypeVar("T")


class WatchedEngine:
    """An engine whose calls end with an `InfrastructureError` once it is in trouble or makes no progress."""

    def __init__(self, engine: Engine) -> None:
        """Watch ``engine``, from the first `begin` on."""
        self._engine = engine
        self._lost: str | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._asked: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._n_ended = 0

    async def start(self) -> EngineStart:
        """Load the engine; a start that hangs is its caller's to end."""
        return await self._engine.start()

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """End what is left of the cell before, then begin and watch this one.

        Raises:
            InfrastructureError: the engine is lost, or requests of the cell before do not end.
        """
        await self.abort()
        if self._watch is None:
            self._watch = asyncio.create_task(self._look())
        self._stall_timeout_s = cell.protocol.stall_timeout_s
        await self._guarded(self._engine.begin(cell, origin_s))

    async def generate(self, request: Request) -> Completion:
        """Answer one request, or say what became of the engine."""
        return await self._guarded(self._engine.generate(request))

    async def series(self) -> dict[str, pa.Table]:
        """What the engine recorded since `begin`."""
        return await self._guarded(self._engine.series())

    def progress(self) -> int:
        """That of the engine."""
        return self._engine.progress()

    def trouble(self) -> str | None:
        """Why the engine is lost; None where it is not."""
        return self._lost or self._engine.trouble()

    async def abort(self) -> None:
        """End every request in flight.

        Raises:
            InfrastructureError: one of them does not end.
        """
        tasks = set(self._asked)
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=_ABORT_TIMEOUT_S)
            if left:
                raise InfrastructureError(f"{len(left)} requests were aborted and do not end in {_ABORT_TIMEOUT_S:g} s")

    async def close(self) -> None:
        """Watch no more and close the engine."""
        if self._watch is not None:
            self._watch.cancel()
        await self._engine.close()

    async def _guarded(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, unless the engine is lost before."""
        if self._lost is not None:
            work.close()
            raise InfrastructureError(self._lost)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: _wake(woken))
        task.add_done_callback(self._ended)
        self._asked.add(task)
        self._waiting.add(woken)
        try:
            await woken
        finally:
            self._waiting.discard(woken)
            if not task.done():
                task.cancel()
        if task.done() and not task.cancelled():
            return task.result()
        raise InfrastructureError(self._lost or "the request was aborted")

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._asked.discard(task)
        self._n_ended += 1
        if not task.cancelled():
            task.exception()  # fetched here, lest asyncio complain of an error nobody waited for any more

    async def _look(self) -> None:
        """Watch the engine until it is lost, then wake who waits for it."""
        try:
            await self._until_lost()
        except Exception as error:  # a supervisor: an engine that cannot be watched must not be waited for
            self._lost = f"the engine cannot be watched: {type(error).__name__}: {error}"
        for woken in tuple(self._waiting):
            _wake(woken)

    async def _until_lost(self) -> None:
        """Look at the engine four times a second."""
        before, since_s = self._progress(), time.monotonic()
        while self._lost is None:
            await asyncio.sleep(_LOOK_EVERY_S)
            now, now_s = self._progress(), time.monotonic()
            if now != before or not self._asked:
                before, since_s = now, now_s
            self._lost = self._engine.trouble() or self._stalled(now_s - since_s)

    def _progress(self) -> tuple[int, int]:
        return self._n_ended, self._engine.progress()

    def _stalled(self, silent_s: float) -> str | None:
        if silent_s < self._stall_timeout_s:
            return None
        return (
            f"the engine stalled: {len(self._asked)} calls in flight and not one token in {silent_s:.0f} s "
            "(protocol.stall_timeout_s)"
        )


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
