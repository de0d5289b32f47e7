"""The server's prefix cache between cells: emptied where the server lets us, else avoided."""

import asyncio
import json
import time

from orchestrator.engines.openai.errors import BUSY, refusal
from orchestrator.engines.openai.http import Client, Response

_PATHS = ("/reset_prefix_cache", "/flush_cache")
"""vLLM's (with VLLM_SERVER_DEV_MODE=1) and SGLang's."""
_THERE = (200, 400)
"""What they answer; 400 is SGLang's while requests run."""
_PATIENCE_S = 10.0
"""How long a server may hold on to blocks of what has ended (their offload, say)."""
_AGAIN_S = 0.25


async def flush_path(client: Client) -> str | None:
    """The path that empties the cache, or would if nothing held it; None where the server has none.

    Raises:
        InfrastructureError: the server is not reached or too busy.
    """
    for path in _PATHS:
        if (await _ask(client, path)).status in _THERE:
            return path
    return None


async def empty(client: Client, path: str) -> bool:
    """Empty the cache, asking again for 10 s; False if the server did not do it.

    Raises:
        InfrastructureError: the server is not reached or too busy.
    """
    give_up_s = time.monotonic() + _PATIENCE_S
    while not _emptied(await _ask(client, path)):
        if time.monotonic() > give_up_s:
            return False
        await asyncio.sleep(_AGAIN_S)
    return True


async def _ask(client: Client, path: str) -> Response:
    response = await client.post(path, {})
    if response.status in BUSY:
        raise refusal(response, path)
    return response


def _emptied(response: Response) -> bool:
    """Whether it did: vLLM answers 200 with ``success`` false while blocks are held; SGLang's 200 is a sentence."""
    if response.status != 200:
        return False
    try:
        said = json.loads(response.body)
    except ValueError:
        return True
    return not isinstance(said, dict) or said.get("success") is not False
