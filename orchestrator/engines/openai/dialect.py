"""What a server takes and gives, beside a text and a number of tokens."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from orchestrator.engines.openai.errors import refusal
from orchestrator.engines.openai.http import Client
from orchestrator.engines.openai.stream import Answer, ask
from orchestrator.errors import CellError

Prompts = Literal["auto", "token_ids", "text"]

MODELS = "/v1/models"
_TEXT = " one two three four"
_N_TOKENS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How to ask one server.

    ``token_ids``: prompts go as ids; ``returns_ids``: the ids of the output come back when asked for; ``counts``:
    the stream ends with the server's usage; ``forces_length``: the field that keeps it from stopping early;
    ``priorities``: requests may carry one; ``extra`` is part of every request.
    """

    model: str
    token_ids: bool
    returns_ids: bool
    counts: bool
    forces_length: str | None
    priorities: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def body(
        self, prompt: str | Sequence[int], output_tokens: int, *, ids_back: bool, priority: int | None = None
    ) -> dict[str, Any]:
        """A request for ``output_tokens`` tokens; with ``ids_back`` their ids are asked for, where there are any."""
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": output_tokens,
            "temperature": 0.0,
            "stream": True,
        }
        if self.counts:
            body["stream_options"] = {"include_usage": True}
        if self.forces_length == "ignore_eos":
            body["ignore_eos"] = True
        elif self.forces_length == "min_tokens":
            body["min_tokens"] = output_tokens
        if ids_back and self.returns_ids:
            body["return_token_ids"] = True
        if priority is not None and self.priorities:
            body["priority"] = priority
        return body | dict(self.extra)

    def provenance(self) -> dict[str, str]:
        """What a result depends on, in words."""
        return {
            "served_model": self.model,
            "prompts": "token ids" if self.token_ids else "text",
            "output_length": f"forced with {self.forces_length}" if self.forces_length else "max_tokens alone",
            "output_ids": "returned" if self.returns_ids else "not returned",
            "token_counts": "the server's usage" if self.counts else "parts of the stream",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the options say of how to ask."""

    served_model: str | None
    prompts: Prompts
    natural_stops: bool
    priorities: bool
    extra: Mapping[str, Any]


async def probe(client: Client, wanted: Wanted, token_ids: list[int]) -> Dialect:
    """The richest dialect that the server understands; ``token_ids`` is a short prompt it should know.

    Raises:
        CellError: it does not know the model, or takes neither form of prompt.
        InfrastructureError: it is not reached or breaks down.
    """
    dialect = Dialect(
        model=wanted.served_model or await first_model(client),
        token_ids=False,
        returns_ids=False,
        counts=False,
        forces_length=None,
        priorities=wanted.priorities,
        extra=wanted.extra,
    )
    if wanted.prompts != "token_ids":
        await _try(client, dialect, _TEXT)  # its refusal is the plainest: nothing but a prompt was asked
    dialect = await _counting(client, dialect, _TEXT if wanted.prompts != "token_ids" else token_ids)
    if wanted.prompts != "text":
        dialect = await _with_token_ids(client, dialect, token_ids, needed=wanted.prompts == "token_ids")
    if wanted.prompts != "text":
        dialect = await _with_ids_back(client, dialect, token_ids if dialect.token_ids else _TEXT)
    if wanted.prompts == "auto" and not dialect.returns_ids:  # a later step could not carry what an earlier one said
        dialect = replace(dialect, token_ids=False)
    if wanted.natural_stops:
        return dialect
    return await _with_forced_length(client, dialect, token_ids if dialect.token_ids else _TEXT)


async def first_model(client: Client) -> str:
    """The first model that the server lists.

    Raises:
        CellError: it lists none.
        InfrastructureError: it is not reached or breaks down.
    """
    response = await client.get(MODELS)
    if response.status != 200:
        raise refusal(response, MODELS)
    try:
        name = json.loads(response.body)["data"][0]["id"]
    except (ValueError, LookupError, TypeError) as error:
        raise CellError(f"{MODELS} lists no model; name one with engine.served_model") from error
    return str(name)


async def _try(client: Client, dialect: Dialect, prompt: str | list[int], *, ids_back: bool = False) -> Answer:
    answer, _ = await ask(client, dialect.body(prompt, _N_TOKENS, ids_back=ids_back))
    return answer


async def _accepts(
    client: Client, dialect: Dialect, prompt: str | list[int], *, ids_back: bool = False
) -> Answer | None:
    try:
        return await _try(client, dialect, prompt, ids_back=ids_back)
    except CellError:
        return None


async def _counting(client: Client, dialect: Dialect, prompt: str | list[int]) -> Dialect:
    counting = replace(dialect, counts=True)
    answer = await _accepts(client, counting, prompt)
    return dialect if answer is None or answer.usage is None else counting


async def _with_token_ids(client: Client, dialect: Dialect, token_ids: list[int], *, needed: bool) -> Dialect:
    """A server that takes the ids for something else counts another prompt."""
    asked = replace(dialect, token_ids=True)
    try:
        answer = await _try(client, asked, token_ids)
    except CellError as error:
        if needed:
            raise CellError(f"engine.prompts=token_ids, but the server takes none: {error}") from error
        return dialect
    counted = (answer.usage or {}).get("prompt_tokens", len(token_ids))
    if counted == len(token_ids):
        return asked
    if needed:
        raise CellError(
            f"engine.prompts=token_ids, but the server counts {counted} prompt tokens where {len(token_ids)} were sent"
        )
    return dialect


async def _with_ids_back(client: Client, dialect: Dialect, prompt: str | list[int]) -> Dialect:
    asked = replace(dialect, returns_ids=True)
    answer = await _accepts(client, asked, prompt, ids_back=True)
    return dialect if answer is None or len(answer.token_ids) != answer.n_tokens else asked


async def _with_forced_length(client: Client, dialect: Dialect, prompt: str | list[int]) -> Dialect:
    for name in ("ignore_eos", "min_tokens"):
        asked = replace(dialect, forces_length=name)
        if await _accepts(client, asked, prompt) is not None:
            return asked
    return dialect
