"""The state of a request in the simulated scheduler."""

import asyncio
from dataclasses import InitVar, dataclass, field

from orchestrator.engines.simulated.blocks import Chain
from orchestrator.engines.simulated.kv_cache import BlockTable
from workflows.request import Completion, Request


@dataclass(slots=True, eq=False)
class Sequence:
    """A request and its state; sequences are compared by identity.

    ``n_computed`` is the number of tokens whose keys and values exist. The `DecodeGroup` advances its members without
    updating them: ``n_computed`` and ``n_generated`` keep the values from when the sequence joined, and ``offset``,
    ``ends_at`` and the ``mark_...`` energies hold its state in the group. ``queue_key`` is its place in a `Ranked`
    queue, ``admission`` its position in the order of admissions.
    """

    request: Request
    block_size: InitVar[int]
    submitted_s: float
    done: asyncio.Future[Completion]
    chain: Chain = field(init=False)
    table: BlockTable = field(init=False)
    request_id: str = field(init=False)
    n_prompt: int = field(init=False)
    n_output: int = field(init=False)
    queue_key: tuple[float, int] = (0.0, 0)
    admission: int = 0
    n_computed: int = 0
    n_generated: int = 0
    n_preemptions: int = 0
    cached_tokens: int | None = None
    scheduled_s: float | None = None
    first_token_s: float | None = None
    finished_s: float | None = None
    prefill_energy_j: float = 0.0
    decode_energy_j: float = 0.0
    offset: int = 0
    ends_at: int | None = None
    mark_share_j: float = 0.0
    mark_context_j: float = 0.0
    mark_index_j: float = 0.0

    def __post_init__(self, block_size: int) -> None:
        request = self.request
        self.request_id, self.n_prompt, self.n_output = request.request_id, request.prompt_tokens, request.output_tokens
        spans = [(segment.content, segment.n_tokens) for segment in request.prompt]
        self.chain = Chain([*spans, (request.request_id, request.output_tokens)], block_size)
        self.table = BlockTable(self.chain)

    @property
    def n_known(self) -> int:
        """Tokens of the prompt and of the output so far."""
        return self.n_prompt + self.n_generated

    @property
    def ended(self) -> bool:
        """Whether the last token has been generated."""
        return self.n_generated == self.n_output

    def completion(self) -> Completion:
        """Return the completion of an ended sequence."""
        assert self.scheduled_s is not None
        assert self.first_token_s is not None
        assert self.finished_s is not None
        return Completion(
            request_id=self.request_id,
            output_tokens=self.n_generated,
            cached_tokens=self.cached_tokens or 0,
            n_preemptions=self.n_preemptions,
            submitted_s=self.submitted_s,
            scheduled_s=self.scheduled_s,
            first_token_s=self.first_token_s,
            finished_s=self.finished_s,
            prefill_energy_j=self.prefill_energy_j,
            decode_energy_j=self.decode_energy_j,
        )
