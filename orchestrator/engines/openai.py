"""Any server that speaks OpenAI's completions: vLLM serve, SGLang, TGI, llama.cpp."""

from orchestrator.openai_engine.engine import OpenAiEngine
from orchestrator.openai_engine.options import Options
from orchestrator.openai_engine.preflight import preflight
from orchestrator.serving.engine import Engine
from orchestrator.spec.cell import Cell
from workflows.clock import Clock

__all__ = ["Options", "build", "check", "preflight"]


def check(cell: Cell) -> None:
    """Nothing can be refused from the cell's figures: they are not the server's."""


def build(cell: Cell, clock: Clock) -> Engine:
    """The engine of a cell; it stamps CLOCK_MONOTONIC, which is the clock of every real engine."""
    del clock
    return OpenAiEngine(cell)
