"""Engine plug-in that simulates vLLM V1 in virtual time, with modelled step times and power: no GPU, no weights."""

from orchestrator.costmodel.memory import check_cache, check_parallelism, check_weights
from orchestrator.engines.simulated.engine import Options, SimulatedEngine
from orchestrator.errors import InfeasibleCell
from orchestrator.serving.engine import Engine
from orchestrator.spec.cell import Cell
from workflows.clock import Clock

__all__ = ["Options", "build", "check"]


def check(cell: Cell) -> None:
    """Check that an engine could start.

    Raises:
        InfeasibleCell: too few GPUs, heads that cannot be divided, or too little memory.
    """
    options = cell.engine
    check_parallelism(cell)
    if options.max_num_batched_tokens < options.max_num_seqs:
        raise InfeasibleCell(
            f"max_num_batched_tokens ({options.max_num_batched_tokens}) must be at least max_num_seqs "
            f"({options.max_num_seqs})"
        )
    check_weights(cell)
    check_cache(cell)


def build(cell: Cell, clock: Clock) -> Engine:
    """Return the engine of a cell, idle, on ``clock``."""
    return SimulatedEngine(cell, clock)
