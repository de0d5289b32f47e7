"""How many tokens a text has for the server."""

import json
from typing import Any

from orchestrator.errors import CellError
from orchestrator.openai_engine.ask import ask
from orchestrator.openai_engine.client import Client
from orchestrator.openai_engine.dialect import Dialect
from orchestrator.openai_engine.refusal import BUSY, refusal
from orchestrator.openai_engine.words import Count

_PATH = "/tokenize"


async def counter(client: Client, dialect: Dialect) -> Count:
    """Counts by a completion's usage, which holds what the server puts around a prompt; else by its ``/tokenize``.

    Raises:
        CellError: the server does neither.
        InfrastructureError: it is not reached or too busy.
    """
    if dialect.counts:

        async def by_usage(text: str) -> int:
            answer, _ = await ask(client, dialect.body(text, 1, ids_back=False))
            return int((answer.usage or {})["prompt_tokens"])

        return by_usage

    for field in ("prompt", "inputs", "content"):  # vLLM and SGLang, TGI, llama.cpp
        if await _tokens(client, {field: " the"}) is not None:

            async def by_tokenizer(text: str, field: str = field) -> int:
                return await _tokens(client, {field: text}) or 0

            return by_tokenizer
    raise CellError("the server counts no tokens: it has neither usage nor /tokenize, so no text can be measured")


async def _tokens(client: Client, body: dict[str, Any]) -> int | None:
    """The length of the list that comes back, bare or as ``tokens``."""
    response = await client.post(_PATH, body)
    if response.status in BUSY:
        raise refusal(response, _PATH)
    if response.status != 200:
        return None
    try:
        found = json.loads(response.body)
    except ValueError:
        return None
    listed = found.get("tokens") if isinstance(found, dict) else found
    return len(listed) if isinstance(listed, list) else None
