"""Calls on the actors of a lane: their result or a `JoulegridError`, and the lane's engine and monitor behind them."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from orchestrator.errors import InfrastructureError, JoulegridError, as_cell_error
from orchestrator.monitor.base import LatestSamples, Monitor, Prepared
from orchestrator.monitor.computed import monitor_without_hardware
from orchestrator.monitor.timeout import driver_hangs
from orchestrator.ray_runtime.cluster import one_line
from orchestrator.spec.cell import Cell

_CANCEL_EVERY_S = 0.2  # Ray loses the cancellation of a call that is on its way
_CANCEL_TIMEOUT_S = 5.0

ENGINE = "the engine's actor"
_COLLECTOR = "the collector's actor"
_TIMEOUT_S = 300.0
"""Timeout of a call on the collector: more than it takes to set eight GPUs one by one if each of them times out."""


async def call_result(ref: Any, actor_name: str) -> Any:
    """Return the result of a call on an actor; if cancelled, cancel the call and wait for its end.

    Raises:
        JoulegridError: the error that the call returned instead of a value.
        CellError: the exception that the call raised.
        InfrastructureError: the actor was lost; the message begins with ``actor_name``.
    """
    import ray

    try:
        value = await ref
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(_cancel(ref)))  # continues even if this task is cancelled again
        raise
    except ray.exceptions.RayTaskError as error:
        raise as_cell_error(error.cause) from error
    except ray.exceptions.RayError as error:
        raise InfrastructureError(f"{actor_name} was lost: {one_line(error)}") from error
    if isinstance(value, JoulegridError):
        raise value
    return value


async def _cancel(ref: Any) -> None:
    """Cancel a call repeatedly until it has ended or the timeout has passed."""
    import ray

    deadline_s = time.monotonic() + _CANCEL_TIMEOUT_S
    ended = asyncio.gather(ref.as_future(_internal=True), return_exceptions=True)
    while not ended.done() and time.monotonic() < deadline_s:
        ray.cancel(ref)
        await asyncio.wait([ended], timeout=_CANCEL_EVERY_S)


class RemoteEngine:
    """A `LoadedEngine` in another process; errors are those of the engine."""

    def __init__(self, actor: Any) -> None:
        """``actor`` is an `orchestrator.lanes.engine_actor.EngineActor` with a loaded engine."""
        self._actor = actor

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Call `LoadedEngine.begin`."""
        await call_result(self._actor.begin.remote(cell, origin_s), ENGINE)

    async def series(self) -> dict[str, pa.Table]:
        """Return `LoadedEngine.series`."""
        series: dict[str, pa.Table] = await call_result(self._actor.series.remote(), ENGINE)
        return series


class RemoteMonitor:
    """A `Monitor` in the collector actor: it samples and sets the lane's GPUs, on the clock of their host."""

    def __init__(self, collector: Any) -> None:
        """``collector`` is an `orchestrator.lanes.collector_actor.CollectorActor`."""
        self._collector = collector

    async def prepare(self, cell: Cell) -> Prepared:
        """Call `Monitor.prepare`."""
        prepared: Prepared = await _collector_result(self._collector.prepare.remote(cell), "sets its GPUs")
        return prepared

    async def latest(self) -> LatestSamples:
        """Return `Monitor.latest`."""
        samples: dict[str, dict[str, float]] = await _collector_result(
            self._collector.latest.remote(), "reads its GPUs"
        )
        return samples

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, recorded: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """Return `Monitor.series`."""
        series: dict[str, pa.Table] = await _collector_result(
            self._collector.series.remote(origin_s, end_s), "hands out its samples"
        )
        return series


def lane_monitor(cell: Cell, collector: Any) -> Monitor:
    """Return the monitor of a cell on a lane."""
    return monitor_without_hardware(cell) or RemoteMonitor(collector)


async def _collector_result(ref: Any, doing: str) -> Any:
    """Return `call_result` within a timeout: a hanging driver blocks its caller, and no signal ends that."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await call_result(ref, _COLLECTOR)
    except TimeoutError as error:
        raise driver_hangs(_COLLECTOR, _TIMEOUT_S, doing) from error
