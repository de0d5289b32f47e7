"""The features of the completions API that a server supports, found by requests of two tokens."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.engines.openai.http import Client, response_error
from orchestrator.engines.openai.options import Options
from orchestrator.engines.openai.stream import CompletionStream, request_completion
from orchestrator.errors import CellError

MODELS_PATH = "/v1/models"
_PROBE_TEXT = " one two three four"
_PROBE_OUTPUT_TOKENS = 2

_Prompt = str | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How to write requests for one server.

    ``token_ids``: prompts are token ids, not text. ``returns_ids``: the server returns the ids of the output on
    request. ``counts``: the stream ends with the server's usage. ``forces_length``: the field that prevents an early
    end, None if there is none. ``priorities``: requests carry a priority. ``extra`` is added to every request.
    """

    model: str
    token_ids: bool = False
    returns_ids: bool = False
    counts: bool = False
    forces_length: str | None = None
    priorities: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def body(
        self, prompt: _Prompt, output_tokens: int, *, return_ids: bool, priority: int | None = None
    ) -> dict[str, Any]:
        """Return the body of a request for ``output_tokens`` tokens.

        ``return_ids`` requests the ids of the output, if the server can return them.
        """
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
        if return_ids and self.returns_ids:
            body["return_token_ids"] = True
        if priority is not None and self.priorities:
            body["priority"] = priority
        return body | dict(self.extra)

    def provenance(self) -> dict[str, str]:
        """Return the features as text for the record."""
        return {
            "served_model": self.model,
            "prompts": "token ids" if self.token_ids else "text",
            "output_length": f"forced with {self.forces_length}" if self.forces_length else "max_tokens alone",
            "output_ids": "returned" if self.returns_ids else "not returned",
            "token_counts": "the server's usage" if self.counts else "parts of the stream",
        }


async def probe(client: Client, options: Options, token_ids: list[int]) -> Dialect:
    """Return the dialect with all features that the server supports; ``token_ids`` is a short valid prompt.

    Raises:
        CellError: the server does not know the model, or accepts neither form of prompt.
        InfrastructureError: the server cannot be reached or fails.
    """
    dialect = Dialect(
        model=options.served_model or await first_model(client),
        priorities=options.scheduling_policy != "fcfs",
        extra=options.extra_body,
    )
    text_allowed, ids_allowed = options.prompts != "token_ids", options.prompts != "text"
    if text_allowed:
        await _request(client, dialect, _PROBE_TEXT)  # without optional fields, so that its error is the clearest
    dialect = await _with_counts(client, dialect, _PROBE_TEXT if text_allowed else token_ids)
    if ids_allowed:
        dialect = await _with_token_ids(client, dialect, token_ids, required=not text_allowed)
        dialect = await _with_returned_ids(client, dialect, token_ids if dialect.token_ids else _PROBE_TEXT)
    if options.prompts == "auto" and not dialect.returns_ids:
        dialect = replace(dialect, token_ids=False)  # with ids, a later step could not contain an earlier output
    if options.natural_stops:
        return dialect
    return await _with_forced_length(client, dialect, token_ids if dialect.token_ids else _PROBE_TEXT)


async def first_model(client: Client) -> str:
    """Return the first model that the server lists.

    Raises:
        CellError: it lists none.
        InfrastructureError: the server cannot be reached or fails.
    """
    response = await client.get(MODELS_PATH)
    if response.status != 200:
        raise response_error(response, MODELS_PATH)
    try:
        name = json.loads(response.body)["data"][0]["id"]
    except (ValueError, LookupError, TypeError) as error:
        raise CellError(f"{MODELS_PATH} lists no model; set engine.served_model") from error
    return str(name)


async def _request(client: Client, dialect: Dialect, prompt: _Prompt, *, return_ids: bool = False) -> CompletionStream:
    body = dialect.body(prompt, _PROBE_OUTPUT_TOKENS, return_ids=return_ids)
    completion, _ = await request_completion(client, body)
    return completion


async def _request_if_accepted(
    client: Client, dialect: Dialect, prompt: _Prompt, *, return_ids: bool = False
) -> CompletionStream | None:
    """Return the completion, None if the server refuses the request."""
    try:
        return await _request(client, dialect, prompt, return_ids=return_ids)
    except CellError:
        return None


async def _with_counts(client: Client, dialect: Dialect, prompt: _Prompt) -> Dialect:
    candidate = replace(dialect, counts=True)
    completion = await _request_if_accepted(client, candidate, prompt)
    return dialect if completion is None or completion.usage is None else candidate


async def _with_token_ids(client: Client, dialect: Dialect, token_ids: list[int], *, required: bool) -> Dialect:
    """Add prompts of token ids, unless the server's count shows that it read the ids as something else."""
    candidate = replace(dialect, token_ids=True)
    try:
        completion = await _request(client, candidate, token_ids)
    except CellError as error:
        if required:
            raise CellError(f"engine.prompts=token_ids, but the server does not accept token ids: {error}") from error
        return dialect
    counted = (completion.usage or {}).get("prompt_tokens", len(token_ids))
    if counted == len(token_ids):
        return candidate
    if required:
        raise CellError(
            f"engine.prompts=token_ids, but the server counts {counted} prompt tokens where {len(token_ids)} were sent"
        )
    return dialect


async def _with_returned_ids(client: Client, dialect: Dialect, prompt: _Prompt) -> Dialect:
    candidate = replace(dialect, returns_ids=True)
    completion = await _request_if_accepted(client, candidate, prompt, return_ids=True)
    return dialect if completion is None or len(completion.token_ids) != completion.n_tokens else candidate


async def _with_forced_length(client: Client, dialect: Dialect, prompt: _Prompt) -> Dialect:
    for name in ("ignore_eos", "min_tokens"):
        candidate = replace(dialect, forces_length=name)
        if await _request_if_accepted(client, candidate, prompt) is not None:
            return candidate
    return dialect
