"""vLLM itself, on the GPUs of a node, or on its CPU where the node has none. Nothing here imports it before `build`."""

from orchestrator.costmodel.memory import check_parallelism, check_weights
from orchestrator.engines.vllm.options import Options
from orchestrator.serving.engine import Engine
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec
from workflows.clock import Clock

__all__ = ["Options", "build", "check"]


def check(cell: Cell) -> None:
    """Refuse what vLLM could not start, as far as the cell's own figures tell.

    Raises:
        InfeasibleCell: too few GPUs, heads that do not divide, or random weights larger than the GPUs.
    """
    assert isinstance(cell.engine, Options)
    check_parallelism(cell)
    plain_weights = cell.engine.checkpoint is None and not cell.engine.passed_on  # neither quantised nor offloaded
    if isinstance(cell.hardware, HardwareSpec) and plain_weights:
        check_weights(cell)


def build(cell: Cell, clock: Clock) -> Engine:
    """The engine of a cell; nothing is loaded yet. vLLM's clock is ``CLOCK_MONOTONIC``, as ``clock`` is."""
    from orchestrator.engines.vllm.engine import VllmEngine

    return VllmEngine(cell)
