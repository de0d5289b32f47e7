"""The warm-up of a cell: its own kind of work before the work that counts, and nothing left of it but warmth."""

from orchestrator import plugins
from orchestrator.errors import CellError
from orchestrator.serving.engine import LoadedEngine
from orchestrator.spec.cell import Cell
from workflows.clock import Clock
from workflows.execute import Execute
from workflows.warm_up import warm_up


async def warmed_up(cell: Cell, engine: LoadedEngine, clock: Clock, execute: Execute) -> bool:
    """Run what ``protocol.warmup_s`` and ``protocol.warmup_workflows`` ask for; whether that was anything.

    The engine has cached what it saw when this returns: it is to be begun anew.

    Raises:
        CellError: the workflow or the engine refuses it.
        InfrastructureError: the engine was lost.
    """
    protocol, kind = cell.protocol, cell.workflow.kind
    if not protocol.warms_up:
        return False
    await engine.begin(cell, clock.now_s())
    try:
        await warm_up(
            plugins.part("workflows.library", kind, "build")(cell.workflow, seed=cell.warmup_seed),
            cell.load,
            execute=execute,
            clock=clock,
            seed=cell.warmup_seed,
            n_workflows=protocol.warmup_workflows,
            duration_s=protocol.warmup_s,
        )
    except ValueError as error:
        raise CellError(f"workflow {kind}: {error}") from error
    return True
