"""The meter of a lane, asked through its collector's actor."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from orchestrator.cell import Cell
from orchestrator.execution.graph.answer import answer
from orchestrator.meter.choose import meter_without_hardware
from orchestrator.meter.meter import Meter, Prepared

_COLLECTOR = "the collector's actor"


class RemoteMeter:
    """Samples and limits of the GPUs beside which the collector runs, and the clock is that host's."""

    def __init__(self, collector: Any) -> None:
        """``collector`` is the actor (`orchestrator.execution.lanes.collector_actor`)."""
        self._collector = collector

    async def prepare(self, cell: Cell) -> Prepared:
        """Set what the cell asks for."""
        found: Prepared = await answer(self._collector.prepare.remote(cell), _COLLECTOR)
        return found

    async def latest(self) -> Mapping[str, Mapping[str, float]]:
        """The newest sample of each GPU."""
        found: dict[str, dict[str, float]] = await answer(self._collector.latest.remote(), _COLLECTOR)
        return found

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, observed: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """What was sampled."""
        found: dict[str, pa.Table] = await answer(self._collector.series.remote(origin_s, end_s), _COLLECTOR)
        return found


def meter_in_lane(cell: Cell, collector: Any) -> Meter:
    """The meter of a cell on a lane."""
    return meter_without_hardware(cell) or RemoteMeter(collector)
