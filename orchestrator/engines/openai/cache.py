"""Reset of the server's prefix cache between cells, if the server supports it."""

import asyncio
import json
import time

from orchestrator.engines.openai.http import BUSY, Client, Response, response_error

_RESET_PATHS = ("/reset_prefix_cache", "/flush_cache")
"""vLLM's (with VLLM_SERVER_DEV_MODE=1) and SGLang's."""
_SUPPORTED_STATUSES = (200, 400)
"""Statuses of a server that has the path; SGLang returns 400 while requests run."""
_RESET_TIMEOUT_S = 10.0
"""A server may keep blocks of finished requests in use for some time, for example to offload them."""
_RETRY_INTERVAL_S = 0.25


async def find_reset_path(client: Client) -> str | None:
    """Return the path that resets the prefix cache; None if the server has none.

    Raises:
        InfrastructureError: the server cannot be reached or is busy.
    """
    for path in _RESET_PATHS:
        if (await _post(client, path)).status in _SUPPORTED_STATUSES:
            return path
    return None


async def reset(client: Client, path: str) -> bool:
    """Reset the prefix cache, repeating the request for 10 s; return False if the server did not do it.

    Raises:
        InfrastructureError: the server cannot be reached or is busy.
    """
    deadline_s = time.monotonic() + _RESET_TIMEOUT_S
    while not _succeeded(await _post(client, path)):
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(_RETRY_INTERVAL_S)
    return True


async def _post(client: Client, path: str) -> Response:
    response = await client.post(path, {})
    if response.status in BUSY:
        raise response_error(response, path)
    return response


def _succeeded(response: Response) -> bool:
    """Return whether the cache was reset.

    vLLM returns 200 with ``success`` false while blocks are in use; SGLang returns 200 with a sentence.
    """
    if response.status != 200:
        return False
    try:
        content = json.loads(response.body)
    except ValueError:
        return True
    return not isinstance(content, dict) or content.get("success") is not False
