"""Asking an actor: what comes back is its value, or one of our errors."""

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
"""What messages call it."""

_COLLECTOR = "the collector's actor"
_TIMEOUT_S = 300.0
"""More than eight GPUs take to be set one after the other, through sudo and each at the end of its patience."""


async def answer(ref: Any, asked: str) -> Any:
    """The value of a call on the actor that ``asked`` names; cancelled, it cancels the call and waits for its end.

    Raises:
        JoulegridError: what the call returned instead of a value, as it is.
        CellError: what the call raised.
        InfrastructureError: the actor was lost.
    """
    import ray

    try:
        value = await ref
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(_cancelled(ref)))  # goes on though we may be cancelled again
        raise
    except ray.exceptions.RayTaskError as error:
        raise as_cell_error(error.cause) from error
    except ray.exceptions.RayError as error:
        raise InfrastructureError(f"{asked} was lost: {one_line(error)}") from error
    if isinstance(value, JoulegridError):
        raise value
    return value


async def _cancelled(ref: Any) -> None:
    """Cancel a call until it has ended, however it did; not for ever."""
    import ray

    deadline_s = time.monotonic() + _CANCEL_TIMEOUT_S
    ended = asyncio.gather(ref.as_future(_internal=True), return_exceptions=True)
    while not ended.done() and time.monotonic() < deadline_s:
        ray.cancel(ref)
        await asyncio.wait([ended], timeout=_CANCEL_EVERY_S)


class RemoteEngine:
    """A loaded engine whose actor starts, watches and closes it; errors are those of the engine itself."""

    def __init__(self, actor: Any) -> None:
        """``actor`` is of the engine (`orchestrator.lanes.engine_actor`)."""
        self._actor = actor

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Forget the cell before."""
        await answer(self._actor.begin.remote(cell, origin_s), ENGINE)

    async def series(self) -> dict[str, pa.Table]:
        """What the engine recorded."""
        found: dict[str, pa.Table] = await answer(self._actor.series.remote(), ENGINE)
        return found


class RemoteMonitor:
    """Samples and limits of the GPUs beside which the collector runs, and the clock is that host's."""

    def __init__(self, collector: Any) -> None:
        """``collector`` is the actor (`orchestrator.lanes.collector_actor`)."""
        self._collector = collector

    async def prepare(self, cell: Cell) -> Prepared:
        """Set what the cell asks for."""
        found: Prepared = await _answer(self._collector.prepare.remote(cell), "sets its GPUs")
        return found

    async def latest(self) -> LatestSamples:
        """The newest sample of each GPU."""
        found: dict[str, dict[str, float]] = await _answer(self._collector.latest.remote(), "reads its GPUs")
        return found

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, recorded: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """What was sampled."""
        found: dict[str, pa.Table] = await _answer(
            self._collector.series.remote(origin_s, end_s), "hands out its samples"
        )
        return found


def monitor_in_lane(cell: Cell, collector: Any) -> Monitor:
    """The monitor of a cell on a lane."""
    return monitor_without_hardware(cell) or RemoteMonitor(collector)


async def _answer(ref: Any, doing: str) -> Any:
    """`answer`, but not for ever: a driver that hangs holds whoever asks it, and no signal ends that."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await answer(ref, _COLLECTOR)
    except TimeoutError as error:
        raise driver_hangs(_COLLECTOR, _TIMEOUT_S, doing) from error
