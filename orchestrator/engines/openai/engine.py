"""An engine that is somebody else's server."""

import math
import os
import secrets

import pyarrow as pa

from orchestrator.engines.openai.cache import empty, flush_path
from orchestrator.engines.openai.dialect import Dialect, Wanted, probe
from orchestrator.engines.openai.http import Client
from orchestrator.engines.openai.options import Options
from orchestrator.engines.openai.prompts import Prompts, TextPrompts, TokenPrompts, counter, measured_words
from orchestrator.engines.openai.stream import Answer, ask
from orchestrator.errors import CellError
from orchestrator.serving.engine import EngineStart, due_s
from orchestrator.serving.gc import settle_memory
from orchestrator.spec.cell import Cell
from workflows.prompt_tokens import prompt_token_ids
from workflows.request import Completion, Request, Segment


class OpenAiEngine:
    """Asks a server for completions and stamps what comes back; the server's inside is not seen."""

    def __init__(self, cell: Cell) -> None:
        assert isinstance(cell.engine, Options)
        self._options = cell.engine
        self._vocab_size = cell.model.vocab_size
        self._origin_s = 0.0
        self._salt = ""
        self._n_arrived = 0
        self._flush_path: str | None = None
        self._client: Client | None = None
        self._dialect: Dialect | None = None
        self._prompts: Prompts | None = None

    async def start(self) -> EngineStart:
        """Find out what the server takes; nothing is loaded.

        Raises:
            CellError: it refuses the model or every form of prompt, or the key's variable is not set.
            InfrastructureError: it is not reached or breaks down.
        """
        options = self._options
        client = self._client = Client(options.address, api_key=self._api_key(), timeout_s=options.request_timeout_s)
        wanted = Wanted(
            served_model=options.served_model,
            prompts=options.prompts,
            natural_stops=options.natural_stops,
            priorities=options.scheduling_policy != "fcfs",
            extra=options.extra_body,
        )
        dialect = self._dialect = await probe(client, wanted, self._known_ids())
        self._flush_path = await flush_path(client)
        self._prompts = TokenPrompts(self._vocab_size)
        provenance = {"base_url": options.base_url, **dialect.provenance(), "prefix_cache": self._cache_told()}
        if not dialect.token_ids:
            words = await measured_words(await counter(client, dialect))
            self._prompts = TextPrompts(words)
            provenance["prompts"] = (
                f"text: {len(words.words)} words of {words.tokens_each} tokens, {words.overhead} before"
            )
        return EngineStart(provenance=provenance)

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Empty the server's prefix cache, or ask for nothing that can be in it.

        Raises:
            InfrastructureError: the server is not reached or too busy.
        """
        del cell
        self._origin_s = origin_s
        _, _, client = self._started()
        emptied = self._flush_path is not None and await empty(client, self._flush_path)
        settle_memory()
        self._salt = "" if emptied else f"{secrets.token_hex(8)}/"

    async def generate(self, request: Request) -> Completion:
        """Ask for one completion.

        Raises:
            CellError: the server refuses it, or gives another number of tokens.
            InfrastructureError: the server was not reached, broke down, or was cut off.
        """
        dialect, prompts, client = self._started()
        body = dialect.body(
            prompts.prompt(request, self._salt),
            request.output_tokens,
            ids_back=request.remaining_tokens > request.output_tokens,  # a later step may read them
            priority=self._priority(request),
        )
        answer, submitted_s = await ask(client, body, self._arrived)
        check_length(request, answer, may_stop=self._options.natural_stops)
        return completion_of(request, answer, submitted_s, with_text=not dialect.token_ids)

    async def series(self) -> dict[str, pa.Table]:
        """A server does not show its iterations."""
        return {}

    def progress(self) -> int:
        """Parts of answers that stand for tokens and have arrived since the start."""
        return self._n_arrived

    def trouble(self) -> None:
        """It is seen only through its answers."""
        return

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    def _arrived(self) -> None:
        self._n_arrived += 1

    def _started(self) -> tuple[Dialect, Prompts, Client]:
        if self._dialect is None or self._prompts is None or self._client is None:
            raise AssertionError("start comes first")
        return self._dialect, self._prompts, self._client

    def _api_key(self) -> str | None:
        name = self._options.api_key_env
        if name is None:
            return None
        if name not in os.environ:
            raise CellError(f"engine.api_key_env={name}: that environment variable is not set where the engine runs")
        return os.environ[name]

    def _known_ids(self) -> list[int]:
        """A short prompt from the middle of the vocabulary."""
        segment = Segment("probe", 5)
        probed = Request(
            request_id="probe", workflow_id="probe", tenant="", step="", role="", prompt=(segment,), output_tokens=1
        )
        return prompt_token_ids(probed, self._vocab_size)

    def _priority(self, request: Request) -> int | None:
        if self._options.scheduling_policy == "fcfs":
            return None
        if self._options.scheduling_policy == "priority":
            return request.priority
        return round((due_s(request) - self._origin_s) * 1000.0)

    def _cache_told(self) -> str:
        if self._flush_path is not None:
            return f"emptied before every cell with {self._flush_path}, or else its prompts are no other's"
        return "cannot be emptied from here: no two cells share prompts"


def check_length(request: Request, answer: Answer, *, may_stop: bool) -> None:
    """Refuse an answer of another length; where the model ``may_stop`` by itself, of a greater one.

    Raises:
        CellError: as said, or the server counts tokens that were not seen to arrive.
    """
    asked, came = request.output_tokens, answer.n_tokens
    if came > asked or came < (1 if may_stop else asked):
        raise CellError(
            f"request {request.request_id}: {asked} output tokens were asked for and {came} came (finish_reason "
            f"{answer.finish_reason}); without natural_stops the server must take ignore_eos or min_tokens"
        )
    if not answer.chunks_s:
        raise CellError(f"request {request.request_id}: the server counts {came} tokens but streamed none")


def completion_of(request: Request, answer: Answer, submitted_s: float, *, with_text: bool) -> Completion:
    """The completion of a request whose answer is checked.

    Its text and the server's count of the prompt are kept ``with_text``: where the prompt went as text.
    """
    n_tokens, times_s = answer.n_tokens, answer.token_times_s()
    usage = answer.usage or {}
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
        token_ids=tuple(answer.token_ids) if len(answer.token_ids) == n_tokens else None,
        token_times_s=times_s,
        text="".join(answer.texts) if with_text else None,
        prompt_tokens=usage.get("prompt_tokens") if with_text else None,
    )
