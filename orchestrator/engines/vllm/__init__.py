"""Engine plug-in for vLLM, on the GPUs of a node or on the CPU of a node without GPUs; vLLM is imported at start."""

from orchestrator.costmodel.memory import check_parallelism, check_weights
from orchestrator.engines.vllm.options import Options
from orchestrator.serving.engine import Engine
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec
from workflows.clock import Clock

__all__ = ["Options", "build", "check"]


def check(cell: Cell) -> None:
    """Check what can be known before vLLM starts.

    Raises:
        InfeasibleCell: too few GPUs, heads that cannot be divided, or random weights larger than the memory.
    """
    assert isinstance(cell.engine, Options)
    check_parallelism(cell)
    has_plain_weights = cell.engine.checkpoint is None and not cell.engine.passed_on  # not quantised, not offloaded
    if isinstance(cell.hardware, HardwareSpec) and has_plain_weights:
        check_weights(cell)


def build(cell: Cell, clock: Clock) -> Engine:
    """Return the engine of a cell, not loaded; ``clock`` is unused, because vLLM stamps CLOCK_MONOTONIC."""
    from orchestrator.engines.vllm.engine import VllmEngine

    return VllmEngine(cell)
