"""Which meter a cell has where no sensor is read and no knob turned for it."""

from orchestrator.cell import Cell
from orchestrator.meter.computed import ComputedMeter
from orchestrator.meter.meter import Meter
from orchestrator.meter.unmetered import Unmetered


def meter_without_hardware(cell: Cell) -> Meter | None:
    """The meter of a cell whose power is computed, or that nobody meters; None where hardware has to be asked."""
    if cell.collectors.power == "simulated":
        return ComputedMeter()
    return None if cell.collectors.samples or cell.on_gpus else Unmetered()
