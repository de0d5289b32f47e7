"""One cell from start to end in this process: for the inline executor, workers in virtual time, and a debugger."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from orchestrator.monitor.base import Monitor
from orchestrator.monitor.local import open_monitor
from orchestrator.records.record import CellResult
from orchestrator.runner.phases import CellRun, run_phases
from orchestrator.runner.result import result_of
from orchestrator.runner.virtual_loop import run_virtual
from orchestrator.serving.engine import Engine
from orchestrator.serving.group import engine_of
from orchestrator.spec.cell import Cell
from workflows.clock import Clock, MonotonicClock
from workflows.execute import execute


def run_cell(cell: Cell) -> CellResult:
    """Load an engine, run a cell on it and summarise the run; write nothing.

    Raises:
        CellError: The cell cannot run as it is written.
        InfrastructureError: The engine was lost.
    """
    if cell.engine.clock == "virtual":
        run = run_virtual(lambda clock: _run(cell, clock))
    else:
        run = asyncio.run(_run(cell, MonotonicClock()))
    return result_of(cell, run)


async def _run(cell: Cell, clock: Clock) -> CellRun:
    """Run the cell on engines of its own, with its workflows in the same process."""
    engine = engine_of(cell, clock)
    try:
        started = await engine.start()
        async with open_monitor(cell, started) as monitor:
            return await run_phases_locally(cell, engine, clock, monitor, provenance=started.provenance)
    finally:
        await engine.close()


async def run_phases_locally(
    cell: Cell, engine: Engine, clock: Clock, monitor: Monitor, *, provenance: Mapping[str, Any]
) -> CellRun:
    """Call `orchestrator.runner.phases.run_phases` with workflows that run in the process of the engine."""
    run_workflow = partial(execute, generate=engine.generate, clock=clock)
    return await run_phases(cell, engine, clock, run_workflow, monitor, provenance=provenance)
