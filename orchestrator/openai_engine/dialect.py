"""What a server takes and gives, beside a text and a number of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How to ask one server.

    ``token_ids``: prompts go as ids; ``returns_ids``: the ids of the output come back when asked for; ``counts``:
    the stream ends with the server's usage; ``forces_length``: the field that keeps it from stopping early;
    ``priorities``: requests may carry one; ``extra`` is part of every request.
    """

    model: str
    token_ids: bool
    returns_ids: bool
    counts: bool
    forces_length: str | None
    priorities: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def body(
        self, prompt: str | Sequence[int], output_tokens: int, *, ids_back: bool, priority: int | None = None
    ) -> dict[str, Any]:
        """A request for ``output_tokens`` tokens; with ``ids_back`` their ids are asked for, where there are any."""
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
        if ids_back and self.returns_ids:
            body["return_token_ids"] = True
        if priority is not None and self.priorities:
            body["priority"] = priority
        return body | dict(self.extra)

    def provenance(self) -> dict[str, str]:
        """What a result depends on, in words."""
        return {
            "served_model": self.model,
            "prompts": "token ids" if self.token_ids else "text",
            "output_length": f"forced with {self.forces_length}" if self.forces_length else "max_tokens alone",
            "output_ids": "returned" if self.returns_ids else "not returned",
            "token_counts": "the server's usage" if self.counts else "parts of the stream",
        }
