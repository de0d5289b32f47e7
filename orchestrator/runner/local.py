"""One cell from start to end, in this process: what a worker calls, and what a debugger steps through."""

import asyncio

from orchestrator.monitor.local import metered
from orchestrator.records.record import CellResult
from orchestrator.runner.phases import Observed, observe
from orchestrator.runner.result import result_of
from orchestrator.runner.virtual_loop import run_virtual
from orchestrator.serving.group import engine_of
from orchestrator.spec.cell import Cell
from workflows.clock import Clock, MonotonicClock
from workflows.execute import StepSpan, execute
from workflows.graph import Workflow


def run_cell(cell: Cell) -> CellResult:
    """Load an engine, run a cell on it and summarise it; nothing is written.

    Raises:
        CellError: the cell cannot run as it is written.
        InfrastructureError: the engine was lost.
    """
    if cell.engine.clock == "virtual":
        observed = run_virtual(lambda clock: _alone(cell, clock))
    else:
        observed = asyncio.run(_alone(cell, MonotonicClock()))
    return result_of(cell, observed)


async def _alone(cell: Cell, clock: Clock) -> Observed:
    """The cell on engines of its own, and its workflows beside it."""
    engine = engine_of(cell, clock)

    async def run_workflow(workflow: Workflow) -> tuple[StepSpan, ...]:
        return await execute(workflow, generate=engine.generate, clock=clock)

    try:
        started = await engine.start()
        async with metered(cell, started) as meter:
            return await observe(cell, engine, clock, run_workflow, meter, provenance=started.provenance)
    finally:
        await engine.close()
