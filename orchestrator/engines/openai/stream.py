"""A streamed completion as it comes in: when which part of it arrived, and how it ended."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engines.openai.errors import refusal, told
from orchestrator.engines.openai.http import Client
from orchestrator.errors import CellError, InfrastructureError

COMPLETIONS = "/v1/completions"
_DONE = b"[DONE]"


class EventReader:
    """Cuts a stream of bytes into the data of its events, wherever the pieces were cut."""

    __slots__ = ("_rest", "ended")

    def __init__(self) -> None:
        self._rest = b""
        self.ended = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of the events that are now whole; ``[DONE]`` is none, it sets ``ended``.

        Lines of comments, names and ids are passed over.
        """
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == _DONE:
                    self.ended = True
                elif data:
                    yield data


@dataclass(slots=True)
class Answer:
    """Fills event by event. ``chunks_s`` are the arrivals of parts that stand for tokens. Units: s, CLOCK_MONOTONIC.

    ``token_ids`` holds the ids where the server sends them, ``usage`` what it counted, ``error`` why it gave up.
    ``on_part`` is called for each of those parts.
    """

    on_part: Callable[[], None] | None = None
    chunks_s: list[float] = field(default_factory=list)
    chunk_tokens: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: CellError | InfrastructureError | None = None
    last_was_empty: bool = False
    _events: EventReader = field(default_factory=EventReader)

    def piece(self, data: bytes, at_s: float) -> None:
        """Take a piece of the stream that arrived at ``at_s``."""
        for event in self._events.feed(data):
            try:
                self._event(json.loads(event), at_s)
            except (ValueError, TypeError, AttributeError, LookupError) as error:
                self.error = InfrastructureError(f"an event of the stream is no completion: {event[:200]!r}: {error}")

    @property
    def ended(self) -> bool:
        """Whether the server said that this was all."""
        return self._events.ended or self.finish_reason is not None

    @property
    def n_tokens(self) -> int:
        """How many tokens were generated: as the server counted, else as many as came."""
        counted = None if self.usage is None else self.usage.get("completion_tokens")
        if isinstance(counted, int):
            return counted
        return len(self.token_ids) or len(self.chunks_s) - self.last_was_empty

    def token_times_s(self) -> tuple[float, ...]:
        """When each token arrived.

        A part that stands for several says how many where it brings their ids; otherwise the parts that came share
        the tokens evenly.
        """
        n, times_s = self.n_tokens, self.chunks_s
        if sum(self.chunk_tokens) == n:
            return tuple(t_s for t_s, k in zip(times_s, self.chunk_tokens, strict=True) for _ in range(k))
        if self.last_was_empty and len(times_s) > n:
            times_s = times_s[:-1]
        return tuple(times_s[k * len(times_s) // n] for k in range(n)) if times_s else ()

    def _event(self, event: dict[str, Any], at_s: float) -> None:
        if event.get("error") is not None:
            self.error = told(event)
            return
        if event.get("usage"):
            self.usage = event["usage"]
        if event.get("choices"):
            self._choice(event["choices"][0], at_s)

    def _choice(self, choice: dict[str, Any], at_s: float) -> None:
        """A part with neither text nor ids holds a token whose text is held back, or is the end alone."""
        text, ids = choice.get("text") or "", choice.get("token_ids") or ()
        finish_reason = choice.get("finish_reason")
        if self.finish_reason is None or text or ids:
            self.chunks_s.append(at_s)
            self.chunk_tokens.append(len(ids))
            self.token_ids.extend(ids)
            self.texts.append(text)
            self.last_was_empty = finish_reason is not None and not text and not ids
            if self.on_part is not None:
                self.on_part()
        self.finish_reason = finish_reason or self.finish_reason


async def ask(client: Client, body: dict[str, Any], on_part: Callable[[], None] | None = None) -> tuple[Answer, float]:
    """The whole answer, and when it was asked for, on CLOCK_MONOTONIC. Units: s. ``on_part`` hears of arriving tokens.

    Raises:
        CellError: the server refuses the request.
        InfrastructureError: it was not reached, broke down, or was cut off.
    """
    answer = Answer(on_part=on_part)
    response = await client.post(COMPLETIONS, body, answer.piece)
    if response.status != 200:
        raise refusal(response, COMPLETIONS)
    if answer.error is not None:
        raise answer.error
    if not answer.ended:
        raise InfrastructureError(f"{COMPLETIONS} ended its stream without a finish_reason: it was cut")
    return answer, response.submitted_s
