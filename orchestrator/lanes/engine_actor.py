"""The actor that holds a loaded engine: one process, one engine, many cells of its ``engine_key``."""

import asyncio
import os
import socket
from typing import Any

import psutil
import pyarrow as pa

import orchestrator
from orchestrator.errors import JoulegridError, as_cell_error
from orchestrator.lanes.processes import end_with_parent
from orchestrator.ray_runtime.actor_calls import monitor_in_lane
from orchestrator.ray_runtime.workers import Hello
from orchestrator.records.record import CellResult
from orchestrator.runner.phases import run_phases
from orchestrator.runner.result import result_of
from orchestrator.serving.engine import EngineStart
from orchestrator.serving.gc import settle_memory
from orchestrator.serving.group import engine_of
from orchestrator.serving.watchdog import WatchedEngine
from orchestrator.spec.cell import Cell
from workflows.clock import MonotonicClock
from workflows.execute import StepSpan, execute
from workflows.graph import Workflow
from workflows.request import Completion, Request

CONTROL_GROUP = "control"
ACTOR_OPTIONS = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 10_000}
"""``max_concurrency`` bounds requests in flight; Ray's own bound is 1000."""


class EngineActor:
    """Made an async Ray actor by the lane, with a concurrency group for control calls.

    `start` and `run` return an error of ours; `begin`, `generate` and `series` raise one, which Ray wraps
    (``RayTaskError.cause``). Times are CLOCK_MONOTONIC of this host. Nothing that can fail is in ``__init__``.
    """

    def __init__(self, lane_id: str) -> None:
        self._lane_id = lane_id
        self._clock = MonotonicClock()
        self._engine: WatchedEngine | None = None
        self._started: EngineStart | None = None

    async def hello(self) -> Hello:
        """Version and place; from now on this process ends with its raylet."""
        import ray

        end_with_parent(self._lane_id)
        _restore_threads()

        context = ray.get_runtime_context()
        return Hello(
            version=orchestrator.__version__,
            host=socket.gethostname(),
            node=context.get_node_id(),
            pid=os.getpid(),
            gpu_ids=tuple(str(each) for each in context.get_accelerator_ids().get("GPU", ())),
        )

    async def start(self, cell: Cell) -> EngineStart | JoulegridError:
        """Load the engine of a cell and warm it up."""
        try:
            self._engine = WatchedEngine(engine_of(cell, self._clock))
            self._started = await self._engine.start()
        except (Exception, SystemExit) as raised:  # a supervisor: whatever a library raises, the lane ends alone
            return as_cell_error(raised)
        return self._started

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """`Engine.begin`, once what the cell before left in flight has ended."""
        await self._loaded.begin(cell, origin_s)
        settle_memory()

    async def generate(self, request: Request) -> Completion:
        """`Engine.generate`."""
        try:
            return await self._loaded.generate(request)
        except Exception as raised:  # a supervisor: Ray must be able to pickle it
            raise as_cell_error(raised) from None

    async def series(self) -> dict[str, pa.Table]:
        """`Engine.series`."""
        return await self._loaded.series()

    async def trouble(self) -> str | None:
        """`Engine.trouble`, or that it stalled."""
        return self._loaded.trouble()

    async def abort(self) -> None:
        """End every request in flight: the cell they belong to has failed."""
        await self._loaded.abort()

    async def run(self, cell: Cell, collector: Any) -> CellResult | JoulegridError:
        """The whole cell in this process, its workflows too (``workflow.executor=local``).

        ``collector`` is the actor beside this one.
        """
        engine, clock = self._loaded, self._clock

        async def run_workflow(workflow: Workflow) -> tuple[StepSpan, ...]:
            return await execute(workflow, generate=engine.generate, clock=clock)

        try:
            monitor = monitor_in_lane(cell, collector)
            run = await run_phases(cell, engine, clock, run_workflow, monitor, provenance=self._provenance)
            return await asyncio.to_thread(result_of, cell, run)
        except (Exception, SystemExit) as raised:  # a supervisor: a cell ends alone, also by exit()
            return as_cell_error(raised)

    async def close(self) -> None:
        """Give everything back; also after a `start` that failed."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    @property
    def _provenance(self) -> dict[str, str]:
        return {} if self._started is None else dict(self._started.provenance)

    @property
    def _loaded(self) -> WatchedEngine:
        if self._engine is None:
            raise AssertionError("start comes first")
        return self._engine


def _restore_threads() -> None:
    """Give back the thread count Ray takes from actors that book less than a CPU, before any library reads it."""
    if "OMP_NUM_THREADS" not in psutil.Process(os.getppid()).environ():
        os.environ.pop("OMP_NUM_THREADS", None)
