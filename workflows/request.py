"""One call of a model: what is asked (`Request`), what came back (`Completion`), and who answers (`Generate`).

A prompt is a tuple of segments. A segment is known by its *content id*: equal ids are equal token streams, and a
shorter segment of an id is a prefix of a longer one. Two prompts share a prefix exactly as far as their segments
agree, so prefix caching is exact without any text.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Segment:
    """A span of prompt tokens: the first ``n_tokens`` of the token stream named ``content``.

    ``token_ids`` are those tokens where they are known because a model generated them or a request file gives them
    (``n_tokens`` of them); ``text`` is their text where that is known, for servers that take nothing else.
    """

    content: str
    n_tokens: int
    token_ids: tuple[int, ...] | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of the model. ``request_id`` is unique in a cell and names the content of its output, too.

    What a scheduler may go by: ``priority`` (lower first), when the workflow began (on the clock of the cell), and how
    many output tokens lie ahead of it, this request's included (`workflows.critical_path`).
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
    """What the engine did for a request. Times are seconds on the clock of the cell.

    ``cached_tokens`` counts prompt tokens found in the prefix cache at first admission; it and ``n_preemptions`` are
    ``None``, and ``scheduled_s`` NaN, where a server does not tell. ``prefill_energy_j`` and
    ``decode_energy_j`` are what the engine itself attributes to the request, ``None`` where it cannot. A real engine
    gives the generated ``token_ids`` and ``token_times_s``, when each of them arrived here: equal for those that came
    together; both have ``output_tokens`` entries. Where a server sends text alone, ``token_ids`` is ``None`` and
    ``text`` holds it. ``prompt_tokens`` is what a server counted, where the prompt went there as text.
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
