"""The state of a request in the simulated scheduler."""

import asyncio

from orchestrator.engines.simulated.blocks import Chain
from orchestrator.engines.simulated.kv_cache import BlockTable
from workflows.request import Completion, Request


class Sequence:
    """A request and its state; sequences are compared by identity.

    ``n_computed`` is the number of tokens whose keys and values exist. The `DecodeGroup` advances its members without
    updating them: ``n_computed`` and ``n_generated`` keep the values from when the sequence joined, and ``offset``,
    ``ends_at`` and the ``mark_...`` energies hold its state in the group. ``queue_key`` is its place in a `Ranked`
    queue, ``admission`` its position in the order of admissions.
    """

    __slots__ = (
        "admission",
        "cached_tokens",
        "chain",
        "decode_energy_j",
        "done",
        "ends_at",
        "finished_s",
        "first_token_s",
        "mark_context_j",
        "mark_index_j",
        "mark_share_j",
        "n_computed",
        "n_generated",
        "n_output",
        "n_preemptions",
        "n_prompt",
        "offset",
        "prefill_energy_j",
        "queue_key",
        "request",
        "request_id",
        "scheduled_s",
        "submitted_s",
        "table",
    )

    def __init__(self, request: Request, block_size: int, submitted_s: float, done: asyncio.Future[Completion]) -> None:
        self.request = request
        self.request_id = request.request_id
        self.n_prompt = request.prompt_tokens
        self.n_output = request.output_tokens
        spans = [(segment.content, segment.n_tokens) for segment in request.prompt]
        self.chain = Chain([*spans, (request.request_id, request.output_tokens)], block_size)
        self.submitted_s = submitted_s
        self.done = done
        self.table = BlockTable(self.chain)
        self.queue_key = (0.0, 0)
        self.admission = 0
        self.n_computed = 0
        self.n_generated = 0
        self.n_preemptions = 0
        self.cached_tokens: int | None = None
        self.scheduled_s: float | None = None
        self.first_token_s: float | None = None
        self.finished_s: float | None = None
        self.prefill_energy_j = 0.0
        self.decode_energy_j = 0.0
        self.offset = 0
        self.ends_at: int | None = None
        self.mark_share_j = 0.0
        self.mark_context_j = 0.0
        self.mark_index_j = 0.0

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
