"""A streamed completion: its request, the arrival times of its chunks, and how it ended."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engines.openai.http import Client, event_error, response_error
from orchestrator.errors import CellError, InfrastructureError

COMPLETIONS_PATH = "/v1/completions"
_DONE = b"[DONE]"


async def request_completion(
    client: Client, body: dict[str, Any], on_chunk: Callable[[], None] | None = None
) -> tuple["CompletionStream", float]:
    """Return the complete stream and the submit time of its request. Units: s, CLOCK_MONOTONIC.

    ``on_chunk`` is called for each chunk that stands for tokens.

    Raises:
        CellError: the server refuses the request.
        InfrastructureError: the server cannot be reached, fails, or cuts the stream off.
    """
    stream = CompletionStream(on_chunk=on_chunk)
    response = await client.post(COMPLETIONS_PATH, body, stream.feed)
    if response.status != 200:
        raise response_error(response, COMPLETIONS_PATH)
    if stream.error is not None:
        raise stream.error
    if not stream.ended:
        raise InfrastructureError(f"{COMPLETIONS_PATH} ended its stream without a finish_reason: it was cut off")
    return stream, response.submitted_s


@dataclass(slots=True)
class EventReader:
    """Splits a stream of bytes into the data of server-sent events, wherever the bytes were cut."""

    ended: bool = False
    _rest: bytes = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the data of the events that are now complete. ``[DONE]`` is not yielded; it sets ``ended``.

        Comments and all other fields are skipped.
        """
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                content = line[5:].strip()
                if content == _DONE:
                    self.ended = True
                elif content:
                    yield content


@dataclass(slots=True)
class CompletionStream:
    """A completion, filled event by event.

    ``chunks_s`` are the arrival times of the chunks that stand for tokens (s, CLOCK_MONOTONIC), ``chunk_tokens`` the
    number of token ids in each. ``token_ids`` are the ids, if the server sends them, ``usage`` the server's counts,
    ``error`` the error that the server sent in the stream. ``on_chunk`` is called for each of these chunks.
    """

    on_chunk: Callable[[], None] | None = None
    chunks_s: list[float] = field(default_factory=list)
    chunk_tokens: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: CellError | InfrastructureError | None = None
    last_chunk_empty: bool = False
    _events: EventReader = field(default_factory=EventReader)

    def feed(self, data: bytes, at_s: float) -> None:
        """Add bytes of the stream that arrived at ``at_s``."""
        for event in self._events.feed(data):
            try:
                self._add_event(json.loads(event), at_s)
            except (ValueError, TypeError, AttributeError, LookupError) as error:
                self.error = InfrastructureError(
                    f"an event of the stream is not a completion: {event[:200]!r}: {error}"
                )

    @property
    def ended(self) -> bool:
        """Whether the server marked the end of the stream."""
        return self._events.ended or self.finish_reason is not None

    @property
    def n_tokens(self) -> int:
        """Tokens generated: the server's count, else the number of ids or chunks that arrived."""
        counted = None if self.usage is None else self.usage.get("completion_tokens")
        if isinstance(counted, int):
            return counted
        return len(self.token_ids) or len(self.chunks_s) - self.last_chunk_empty

    def token_times_s(self) -> tuple[float, ...]:
        """Return the arrival time of each token. Units: s, CLOCK_MONOTONIC.

        If the ids give the number of tokens in each chunk, use it; otherwise spread the tokens evenly over the chunks.
        """
        n, times_s = self.n_tokens, self.chunks_s
        if sum(self.chunk_tokens) == n:
            return tuple(t_s for t_s, k in zip(times_s, self.chunk_tokens, strict=True) for _ in range(k))
        if self.last_chunk_empty and len(times_s) > n:
            times_s = times_s[:-1]
        return tuple(times_s[k * len(times_s) // n] for k in range(n)) if times_s else ()

    def _add_event(self, event: dict[str, Any], at_s: float) -> None:
        if event.get("error") is not None:
            self.error = event_error(event)
            return
        if event.get("usage"):
            self.usage = event["usage"]
        if event.get("choices"):
            self._add_chunk(event["choices"][0], at_s)

    def _add_chunk(self, choice: dict[str, Any], at_s: float) -> None:
        """Add a chunk. One without text and ids is a token whose text is delayed, or only marks the end."""
        text, ids = choice.get("text") or "", choice.get("token_ids") or ()
        finish_reason = choice.get("finish_reason")
        if self.finish_reason is None or text or ids:
            self.chunks_s.append(at_s)
            self.chunk_tokens.append(len(ids))
            self.token_ids.extend(ids)
            self.texts.append(text)
            self.last_chunk_empty = finish_reason is not None and not text and not ids
            if self.on_chunk is not None:
                self.on_chunk()
        self.finish_reason = finish_reason or self.finish_reason
