"""An engine that is somebody else's server."""

import os
import secrets

import pyarrow as pa

from orchestrator.errors import CellError
from orchestrator.openai_engine.ask import ask
from orchestrator.openai_engine.cache import empty, flush_path
from orchestrator.openai_engine.client import Client
from orchestrator.openai_engine.completion import check_length, completion_of
from orchestrator.openai_engine.count import counter
from orchestrator.openai_engine.dialect import Dialect
from orchestrator.openai_engine.options import Options
from orchestrator.openai_engine.probe import Wanted, probe
from orchestrator.openai_engine.prompts import Prompts, TextPrompts, TokenPrompts
from orchestrator.openai_engine.words import measured_words
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
