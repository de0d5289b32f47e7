"""Engine actor: one process that holds one loaded engine for many cells of its ``engine_key``."""

import asyncio
import os
from typing import Any

import psutil
import pyarrow as pa

from orchestrator.errors import JoulegridError, as_cell_error
from orchestrator.lanes.processes import end_with_parent
from orchestrator.ray_runtime.actor_calls import lane_monitor
from orchestrator.ray_runtime.workers import Hello
from orchestrator.records.record import CellResult
from orchestrator.runner.local import run_phases_locally
from orchestrator.runner.result import result_of
from orchestrator.serving.engine import EngineStart
from orchestrator.serving.gc import settle_memory
from orchestrator.serving.group import engine_of
from orchestrator.serving.watchdog import WatchedEngine
from orchestrator.spec.cell import Cell
from workflows.clock import MonotonicClock
from workflows.request import Completion, Request

ACTOR_OPTIONS = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 10_000}
"""``max_concurrency`` bounds the requests in flight; Ray's default is 1000."""


class EngineActor:
    """An async Ray actor that holds one engine.

    `start` and `run` return a `JoulegridError` instead of raising it; `begin`, `generate` and `series` raise one,
    which Ray wraps (``RayTaskError.cause``). Times are CLOCK_MONOTONIC of this host. ``__init__`` does nothing that can
    fail.
    """

    def __init__(self, lane_id: str) -> None:
        self._lane_id = lane_id
        self._clock = MonotonicClock()
        self._engine: WatchedEngine | None = None
        self._started: EngineStart | None = None

    async def hello(self) -> Hello:
        """Return version and place; from now on this process ends with its raylet."""
        import ray

        end_with_parent(self._lane_id)
        _restore_thread_count()
        gpu_ids = ray.get_runtime_context().get_accelerator_ids().get("GPU", ())
        return Hello.of_this_process(tuple(map(str, gpu_ids)))

    async def start(self, cell: Cell) -> EngineStart | JoulegridError:
        """Load the engine of a cell and warm it up; return an error instead of raising it."""
        try:
            self._engine = WatchedEngine(engine_of(cell, self._clock))
            self._started = await self._engine.start()
        except (Exception, SystemExit) as raised:  # supervisor: an exception of a library ends only this lane
            return as_cell_error(raised)
        return self._started

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Call `Engine.begin` after the requests of the previous cell have ended."""
        await self._loaded.begin(cell, origin_s)
        settle_memory()

    async def generate(self, request: Request) -> Completion:
        """Call `Engine.generate`."""
        try:
            return await self._loaded.generate(request)
        except Exception as raised:  # supervisor: Ray must be able to pickle the error
            raise as_cell_error(raised) from None

    async def series(self) -> dict[str, pa.Table]:
        """Return `Engine.series`."""
        return await self._loaded.series()

    async def run(self, cell: Cell, collector: Any) -> CellResult | JoulegridError:
        """Run a cell with its workflows in this process (``workflow.executor=local``).

        ``collector`` is the collector actor of the same lane.
        """
        engine = self._loaded
        try:
            monitor = lane_monitor(cell, collector)
            provenance = {} if self._started is None else self._started.provenance
            run = await run_phases_locally(cell, engine, self._clock, monitor, provenance=provenance)
            return await asyncio.to_thread(result_of, cell, run)
        except (Exception, SystemExit) as raised:  # supervisor: an error ends only this cell, exit() too
            return as_cell_error(raised)

    async def close(self) -> None:
        """Close the engine; also after a `start` that failed."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    @property
    def _loaded(self) -> WatchedEngine:
        if self._engine is None:
            raise AssertionError("start comes first")
        return self._engine


def _restore_thread_count() -> None:
    """Unset the thread count that Ray gives to actors with less than one CPU, before a library reads it."""
    if "OMP_NUM_THREADS" not in psutil.Process(os.getppid()).environ():
        os.environ.pop("OMP_NUM_THREADS", None)
