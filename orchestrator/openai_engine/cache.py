"""The server's prefix cache between cells: emptied where the server lets us, else avoided."""

from orchestrator.openai_engine.client import Client

_PATHS = ("/reset_prefix_cache", "/flush_cache")
"""vLLM's (with VLLM_SERVER_DEV_MODE=1) and SGLang's."""


async def flush_path(client: Client) -> str | None:
    """The path that empties the cache; None where the server has none.

    Raises:
        InfrastructureError: the server is not reached.
    """
    for path in _PATHS:
        if await flush(client, path):
            return path
    return None


async def flush(client: Client, path: str) -> bool:
    """Empty the cache; False if the server does not do it.

    Raises:
        InfrastructureError: the server is not reached.
    """
    return (await client.post(path, {})).status == 200
