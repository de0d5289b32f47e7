"""No meter: latencies only."""

from collections.abc import Mapping

import pyarrow as pa

from orchestrator.meter.meter import Prepared
from orchestrator.spec.cell import Cell


class Unmetered:
    """Sets nothing and samples nothing: energy that nobody measured is missing, not zero."""

    async def prepare(self, cell: Cell) -> Prepared:
        """Nothing is set."""
        return Prepared()

    async def latest(self) -> Mapping[str, Mapping[str, float]]:
        """Nothing is known."""
        return {}

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, observed: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """Nothing was sampled."""
        return {}
