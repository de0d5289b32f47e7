"""Engine plug-in for a running server with OpenAI's completions API: `vllm serve`, SGLang, TGI, llama.cpp."""

import asyncio

from orchestrator.engines.openai.dialect import MODELS_PATH
from orchestrator.engines.openai.engine import OpenAiEngine
from orchestrator.engines.openai.http import Client
from orchestrator.engines.openai.options import Options
from orchestrator.errors import EnvironmentFailure, InfrastructureError
from orchestrator.serving.engine import Engine
from orchestrator.spec.cell import Cell
from workflows.clock import Clock

__all__ = ["Options", "build", "check", "preflight"]

_PREFLIGHT_TIMEOUT_S = 5.0


def check(cell: Cell) -> None:
    """Accept every cell: the limits of the server are not part of the cell."""


def build(cell: Cell, clock: Clock) -> Engine:
    """Return the engine of a cell; ``clock`` is unused, because all real engines stamp CLOCK_MONOTONIC."""
    del clock
    return OpenAiEngine(cell)


def preflight(cell: Cell) -> None:
    """Check that the server of a cell responds.

    Raises:
        EnvironmentFailure: it cannot be reached, or does not respond within 5 s.
    """
    assert isinstance(cell.engine, Options)
    asyncio.run(_request_models(cell.engine))


async def _request_models(options: Options) -> None:
    client = Client(options.address, api_key=None, timeout_s=_PREFLIGHT_TIMEOUT_S)
    try:
        await client.get(MODELS_PATH)  # any status will do; the start of the engine interprets it
    except InfrastructureError as error:
        raise EnvironmentFailure(f"engine.base_url: {error}; start the server, or correct its address") from error
    finally:
        await client.close()
