"""One call of a model: its `Request`, its `Completion`, and the token ids of its prompt.

A prompt is a tuple of segments. A segment is identified by its *content id*: equal ids are equal token streams, and a
shorter segment of an id is a prefix of a longer one. Two prompts share a prefix exactly as far as their segments
agree, so prefix caching is exact without any text.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

_MARGIN = 0.05
"""Share of the vocabulary excluded at either end, where tokenizers keep their special tokens."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A span of prompt tokens: the first ``n_tokens`` of the token stream named ``content``.

    ``token_ids`` are the ids of these tokens if a model generated them or a request file holds them; ``text`` is their
    text if it is known, for servers that accept only text.
    """

    content: str
    n_tokens: int
    token_ids: tuple[int, ...] | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of the model. ``request_id`` is unique in a cell and also names the content of its output.

    A scheduler may use ``priority`` (lower first), when the workflow began (on the clock of the cell), and the output
    tokens from this request to the end of the workflow (`workflows.graph.remaining_tokens`).
    """

    request_id: str
    workflow_id: str
    tenant: str
    step: str
    role: str
    prompt: tuple[Segment, ...]
    output_tokens: int
    priority: int = 0
    workflow_started_s: float = 0.0
    remaining_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Length of the whole prompt. Units: tokens."""
        return sum(segment.n_tokens for segment in self.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The result of a request. Times are seconds on the clock of the cell.

    ``cached_tokens`` counts prompt tokens found in the prefix cache at first admission. It and ``n_preemptions`` are
    ``None``, and ``scheduled_s`` is NaN, if a server does not report them. ``prefill_energy_j`` and ``decode_energy_j``
    are what the engine itself attributes to the request, ``None`` if it cannot. A real engine returns ``token_ids`` and
    ``token_times_s``, the arrival time of each token here, equal for tokens that arrived together; both have
    ``output_tokens`` entries. If a server sends only text, ``token_ids`` is ``None`` and ``text`` holds it.
    ``prompt_tokens`` is the server's own count of a prompt that was sent as text.
    """

    request_id: str
    output_tokens: int
    cached_tokens: int | None
    n_preemptions: int | None
    submitted_s: float
    scheduled_s: float
    first_token_s: float
    finished_s: float
    prefill_energy_j: float | None = None
    decode_energy_j: float | None = None
    token_ids: tuple[int, ...] | None = field(default=None, repr=False)
    token_times_s: tuple[float, ...] | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)
    prompt_tokens: int | None = None


Generate = Callable[[Request], Awaitable[Completion]]


def prompt_token_ids(request: Request, vocab_size: int, *, salt: str = "") -> list[int]:
    """Return the ids of the whole prompt, ``request.prompt_tokens`` of them, each below ``vocab_size``.

    A segment without ids gets a random stream drawn from its content id: equal contents are equal tokens in every
    process. Another ``salt`` draws other streams, which no earlier cell has put into a cache that cannot be emptied.
    Ids that a model with a larger vocabulary generated (for a role on another engine) are taken modulo ``vocab_size``.

    Raises:
        ValueError: a generated segment has another number of ids than tokens.
    """
    return [token_id for segment in request.prompt for token_id in _segment_ids(segment, vocab_size, salt)]


def _segment_ids(segment: Segment, vocab_size: int, salt: str) -> tuple[int, ...]:
    if segment.token_ids is None:
        return _stream(salt + segment.content, segment.n_tokens, vocab_size)
    if len(segment.token_ids) != segment.n_tokens:
        raise ValueError(f"segment {segment.content} has {segment.n_tokens} tokens but {len(segment.token_ids)} ids")
    if max(segment.token_ids, default=0) < vocab_size:
        return segment.token_ids
    return tuple(token_id % vocab_size for token_id in segment.token_ids)


@lru_cache(maxsize=256)
def _stream(content: str, n_tokens: int, vocab_size: int) -> tuple[int, ...]:
    """Return the first ids of a content's stream; cached, because every request repeats a shared prefix."""
    margin = int(_MARGIN * vocab_size)
    seed = int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big")
    ids: list[int] = np.random.default_rng(seed).integers(margin, vocab_size - margin, size=n_tokens).tolist()
    return tuple(ids)
