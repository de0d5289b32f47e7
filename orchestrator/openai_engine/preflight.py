"""Whether a server answers at all: asked once, before a sweep begins."""

import asyncio

from orchestrator.errors import EnvironmentFailure, InfrastructureError
from orchestrator.openai_engine.client import Client
from orchestrator.openai_engine.options import Options
from orchestrator.openai_engine.probe import MODELS
from orchestrator.spec.cell import Cell

_TIMEOUT_S = 5.0


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
