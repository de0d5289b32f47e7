"""The contract of every monitor: what a cell needs of the hardware beside its engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell

LatestSamples = Mapping[str, Mapping[str, float]]
"""The newest sample of each GPU, by UUID: columns of the series ``power``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The state of the GPUs before a cell begins.

    ``control`` holds by GPU UUID the limit and clock requested, set and enforced; None if nothing could be set.
    ``provenance`` holds facts of the GPUs. ``first_temperature_c`` holds by UUID the temperature of each sampled GPU
    when the lane's first cell was prepared. ``reasons`` say why the cell must not be pooled, whatever it measures.
    """

    control: dict[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    first_temperature_c: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()


class Monitor(Protocol):
    """Sensors and knobs of the GPUs, and sensors of the CPUs, that a cell runs on."""

    async def prepare(self, cell: Cell) -> Prepared:
        """Set the limit and clock of the cell and wait until they are in force; restore what it leaves open.

        Raises:
            CellError: The GPUs refuse a setting.
            InfrastructureError: The GPUs, or the process that sets them, were lost.
        """
        ...

    async def latest(self) -> LatestSamples:
        """Return the newest sample of each GPU; empty if none is sampled."""
        ...

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, recorded: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """Return the samples from shortly before ``origin_s`` to shortly after ``end_s``.

        Args:
            cell: The cell that ran.
            origin_s: Its begin on its clock; times in the series count from there.
            end_s: When its last request finished, on the same clock.
            recorded: The series of the engine.

        Returns:
            ``power``, ``cpu_power``, ``gpu_processes``, ``sensor_events`` of `orchestrator.records.series`, if present.
        """
        ...


class NullMonitor:
    """A monitor that sets nothing and samples nothing: energy that was not measured is missing, not zero."""

    async def prepare(self, cell: Cell) -> Prepared:
        """Set nothing."""
        return Prepared()

    async def latest(self) -> LatestSamples:
        """Return no samples."""
        return {}

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, recorded: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """Return no series."""
        return {}
