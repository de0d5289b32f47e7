"""Any server that speaks OpenAI's completions: vLLM serve, SGLang, TGI, llama.cpp."""

import asyncio

from orchestrator.engines.openai.dialect import MODELS
from orchestrator.engines.openai.engine import OpenAiEngine
from orchestrator.engines.openai.http import Client
from orchestrator.engines.openai.options import Options
from orchestrator.errors import EnvironmentFailure, InfrastructureError
from orchestrator.serving.engine import Engine
from orchestrator.spec.cell import Cell
from workflows.clock import Clock

__all__ = ["Options", "build", "check", "preflight"]
_TIMEOUT_S = 5.0


def check(cell: Cell) -> None:
    """Nothing can be refused from the cell's figures: they are not the server's."""


def build(cell: Cell, clock: Clock) -> Engine:
    """The engine of a cell; it stamps CLOCK_MONOTONIC, which is the clock of every real engine."""
    del clock
    return OpenAiEngine(cell)


def preflight(cell: Cell) -> None:
    """Ask the server of a cell for its models.

    Raises:
        EnvironmentFailure: it is not reached, or does not answer in 5 s.
    """
    assert isinstance(cell.engine, Options)
    asyncio.run(_reach(cell.engine))


async def _reach(options: Options) -> None:
    client = Client(options.address, api_key=None, timeout_s=_TIMEOUT_S)
    try:
        await client.get(MODELS)  # any status will do: what it means for the cell, the cell will find out
    except InfrastructureError as error:
        raise EnvironmentFailure(f"engine.base_url: {error}; start the server, or give its address") from error
    finally:
        await client.close()
