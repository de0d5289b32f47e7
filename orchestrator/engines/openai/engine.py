"""The engine of a cell on a running server: its requests, their checks, and their completions."""

import math
import os
import secrets

import pyarrow as pa

from orchestrator.engines.openai import cache
from orchestrator.engines.openai.dialect import Dialect, probe
from orchestrator.engines.openai.http import Client
from orchestrator.engines.openai.options import Options
from orchestrator.engines.openai.prompts import PromptBuilder, TextPrompts, TokenPrompts, measure_words, token_counter
from orchestrator.engines.openai.stream import CompletionStream, request_completion
from orchestrator.errors import CellError
from orchestrator.serving.engine import EngineStart, due_s
from orchestrator.serving.gc import settle_memory
from orchestrator.spec.cell import Cell
from workflows.request import Completion, Request, Segment, prompt_token_ids


class OpenAiEngine:
    """Requests completions from a server and stamps their tokens; the server's iterations are not visible."""

    def __init__(self, cell: Cell) -> None:
        assert isinstance(cell.engine, Options)
        self._options = cell.engine
        self._vocab_size = cell.model.vocab_size
        self._origin_s = 0.0
        self._salt = ""
        self._n_chunks = 0
        self._reset_path: str | None = None
        self._client: Client | None = None
        self._dialect: Dialect | None = None
        self._prompts: PromptBuilder | None = None

    async def start(self) -> EngineStart:
        """Find out what the server supports; nothing is loaded.

        Raises:
            CellError: the server refuses the model or every form of prompt, or the variable of the API key is not set.
            InfrastructureError: the server cannot be reached or fails.
        """
        options = self._options
        client = self._client = Client(options.address, api_key=self._api_key(), timeout_s=options.request_timeout_s)
        dialect = self._dialect = await probe(client, options, self._probe_ids())
        self._reset_path = await cache.find_reset_path(client)
        self._prompts = TokenPrompts(self._vocab_size)
        provenance = {"base_url": options.base_url, **dialect.provenance(), "prefix_cache": self._cache_text()}
        if not dialect.token_ids:
            words = await measure_words(await token_counter(client, dialect))
            self._prompts = TextPrompts(words)
            provenance["prompts"] = (
                f"text: {len(words.words)} words of {words.tokens_each} tokens, {words.overhead} before"
            )
        return EngineStart(provenance=provenance)

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Reset the server's prefix cache, or choose prompts that cannot be in it.

        Raises:
            InfrastructureError: the server cannot be reached or is busy.
        """
        del cell
        self._origin_s = origin_s
        _, _, client = self._started()
        was_reset = self._reset_path is not None and await cache.reset(client, self._reset_path)
        settle_memory()
        self._salt = "" if was_reset else f"{secrets.token_hex(8)}/"

    async def generate(self, request: Request) -> Completion:
        """Return the completion of one request.

        Raises:
            CellError: the server refuses the request, or returns another number of tokens.
            InfrastructureError: the server cannot be reached, fails, or cuts the stream off.
        """
        dialect, prompts, client = self._started()
        body = dialect.body(
            prompts.prompt(request, self._salt),
            request.output_tokens,
            return_ids=request.remaining_tokens > request.output_tokens,  # a later step may read them
            priority=self._priority(request),
        )
        stream, submitted_s = await request_completion(client, body, self._count_chunk)
        check_length(request, stream, may_stop=self._options.natural_stops)
        return to_completion(request, stream, submitted_s, with_text=not dialect.token_ids)

    async def series(self) -> dict[str, pa.Table]:
        """Return no series: a server does not show its iterations."""
        return {}

    def progress(self) -> int:
        """Return the number of chunks with tokens that have arrived since the start."""
        return self._n_chunks

    def trouble(self) -> None:
        """Return None: the server's processes are not visible."""
        return

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()

    def _count_chunk(self) -> None:
        self._n_chunks += 1

    def _started(self) -> tuple[Dialect, PromptBuilder, Client]:
        if self._dialect is None or self._prompts is None or self._client is None:
            raise AssertionError("call start first")
        return self._dialect, self._prompts, self._client

    def _api_key(self) -> str | None:
        name = self._options.api_key_env
        if name is None:
            return None
        if name not in os.environ:
            raise CellError(f"engine.api_key_env={name}: this environment variable is not set where the engine runs")
        return os.environ[name]

    def _probe_ids(self) -> list[int]:
        """Return a short prompt of valid token ids."""
        segment = Segment("probe", 5)
        request = Request(
            request_id="probe", workflow_id="probe", tenant="", step="", role="", prompt=(segment,), output_tokens=1
        )
        return prompt_token_ids(request, self._vocab_size)

    def _priority(self, request: Request) -> int | None:
        if self._options.scheduling_policy == "fcfs":
            return None
        if self._options.scheduling_policy == "priority":
            return request.priority
        return round((due_s(request) - self._origin_s) * 1000.0)

    def _cache_text(self) -> str:
        if self._reset_path is not None:
            return f"emptied before every cell with {self._reset_path}, or else its prompts are no other's"
        return "cannot be emptied from here: no two cells share prompts"


def check_length(request: Request, stream: CompletionStream, *, may_stop: bool) -> None:
    """Check that a completion has the requested length, or at most that length if the model ``may_stop`` by itself.

    Raises:
        CellError: it has another length, or the server counts tokens that it did not stream.
    """
    requested, received = request.output_tokens, stream.n_tokens
    if received > requested or received < (1 if may_stop else requested):
        raise CellError(
            f"request {request.request_id}: {requested} output tokens were requested and {received} received "
            f"(finish_reason {stream.finish_reason}); without natural_stops the server must support ignore_eos or "
            "min_tokens"
        )
    if not stream.chunks_s:
        raise CellError(f"request {request.request_id}: the server counts {received} tokens but streamed none")


def to_completion(request: Request, stream: CompletionStream, submitted_s: float, *, with_text: bool) -> Completion:
    """Return the `Completion` of a stream whose length was checked.

    ``with_text`` keeps its text and the server's count of prompt tokens, for prompts that were sent as text.
    """
    n_tokens, times_s = stream.n_tokens, stream.token_times_s()
    usage = stream.usage or {}
    details = usage.get("prompt_tokens_details") or {}
    return Completion(
        request_id=request.request_id,
        output_tokens=n_tokens,
        cached_tokens=details.get("cached_tokens"),
        n_preemptions=None,
        submitted_s=submitted_s,
        scheduled_s=math.nan,
        first_token_s=times_s[0],
        finished_s=times_s[-1],
        token_ids=tuple(stream.token_ids) if len(stream.token_ids) == n_tokens else None,
        token_times_s=times_s,
        text="".join(stream.texts) if with_text else None,
        prompt_tokens=usage.get("prompt_tokens") if with_text else None,
    )
