"""The meter of a lane, asked through its collector's actor."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from orchestrator.execution.graph.answer import answer
from orchestrator.monitor.base import Meter, Prepared
from orchestrator.monitor.local import meter_without_hardware
from orchestrator.monitor.timeout import hang
from orchestrator.spec.cell import Cell

_COLLECTOR = "the collector's actor"
_TIMEOUT_S = 300.0
"""More than eight GPUs take to be set one after the other, through sudo and each at the end of its patience."""


class RemoteMeter:
    """Samples and limits of the GPUs beside which the collector runs, and the clock is that host's."""

    def __init__(self, collector: Any) -> None:
        """``collector`` is the actor (`orchestrator.execution.lanes.collector_actor`)."""
        self._collector = collector

    async def prepare(self, cell: Cell) -> Prepared:
        """Set what the cell asks for."""
        found: Prepared = await _answer(self._collector.prepare.remote(cell), "sets its GPUs")
        return found

    async def latest(self) -> Mapping[str, Mapping[str, float]]:
        """The newest sample of each GPU."""
        found: dict[str, dict[str, float]] = await _answer(self._collector.latest.remote(), "reads its GPUs")
        return found

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, observed: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """What was sampled."""
        found: dict[str, pa.Table] = await _answer(
            self._collector.series.remote(origin_s, end_s), "hands out its samples"
        )
        return found


def meter_in_lane(cell: Cell, collector: Any) -> Meter:
    """The meter of a cell on a lane."""
    return meter_without_hardware(cell) or RemoteMeter(collector)


async def _answer(ref: Any, doing: str) -> Any:
    """`answer`, but not for ever: a driver that hangs holds whoever asks it, and no signal ends that."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await answer(ref, _COLLECTOR)
    except TimeoutError as error:
        raise hang(_COLLECTOR, _TIMEOUT_S, doing) from error
