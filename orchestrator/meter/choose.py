"""Which meter a cell has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.meter.computed import ComputedMeter
from orchestrator.meter.meter import Meter
from orchestrator.meter.unmetered import Unmetered
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.cell import Cell


def meter_without_hardware(cell: Cell) -> Meter | None:
    """The meter of a cell whose power is computed, or that nobody meters; None where hardware has to be asked."""
    if cell.collectors.power == "simulated":
        return ComputedMeter()
    return None if cell.collectors.samples or cell.on_gpus else Unmetered()


@asynccontextmanager
async def metered(cell: Cell, started: EngineStart) -> AsyncIterator[Meter]:
    """The meter of a cell whose engine has started in this process; errors are those of `local.opened`."""
    without = meter_without_hardware(cell)
    if without is not None:
        yield without
        return
    from orchestrator.meter.local import opened  # what reads hardware takes its time to be imported

    async with opened(cell, started) as meter:
        yield meter
