"""What a cell asks of the hardware beside its engine: the contract of every meter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What was done to the GPUs before a cell, and what they are.

    ``control`` holds by GPU UUID what was requested, set and enforced; None where nothing was there to be set.
    ``provenance`` goes to that of the cell. ``first_temperature_c`` is what each sampled GPU was at, by UUID, when its
    lane's first cell was prepared. ``reasons`` say why the cell must not be pooled, whatever it measures.
    """

    control: dict[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    first_temperature_c: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()


class Meter(Protocol):
    """Sensors and knobs of the GPUs, and the sensors of the CPUs, that a cell runs on."""

    async def prepare(self, cell: Cell) -> Prepared:
        """Set what the cell asks for, and wait until it holds; what it does not ask for is as we found it.

        Raises:
            CellError: the GPUs refuse it.
            InfrastructureError: the GPUs, or whoever sets them, were lost.
        """
        ...

    async def latest(self) -> Mapping[str, Mapping[str, float]]:
        """The newest sample of each GPU, by its UUID: columns of the series ``power``. Empty where none is sampled."""
        ...

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, observed: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """What was sampled from ``origin_s`` to ``end_s`` on the cell's clock, and a little before and after.

        Args:
            cell: whose.
            origin_s: when it began: times in the series count from there.
            end_s: when its last request had finished.
            observed: what the engine recorded.

        Returns:
            ``power``, ``cpu_power``, ``gpu_processes``, ``sensor_events`` of `orchestrator.records.series`, if present.
        """
        ...


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
