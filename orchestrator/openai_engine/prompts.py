"""Prompts in the form a server takes them."""

from dataclasses import dataclass
from typing import Protocol

from orchestrator.openai_engine.words import Words
from workflows.prompt_tokens import prompt_token_ids
from workflows.request import Request, Segment


class Prompts(Protocol):
    """Makes the prompt of a request; another ``salt`` is another prompt of the same length."""

    def prompt(self, request: Request, salt: str) -> str | list[int]:
        """The whole prompt."""
        ...


@dataclass(frozen=True, slots=True)
class TokenPrompts:
    """Token ids: exact lengths, and the real tokens of the steps before."""

    vocab_size: int

    def prompt(self, request: Request, salt: str) -> list[int]:
        """As many ids as the request's segments have tokens."""
        return prompt_token_ids(request, self.vocab_size, salt=salt)


@dataclass(frozen=True, slots=True)
class TextPrompts:
    """Text: words of measured length, and the real text of the steps before."""

    words: Words

    def prompt(self, request: Request, salt: str) -> str:
        """Text of as many tokens as the request's segments have; what the server puts before it counts with them."""
        before = self.words.overhead
        parts: list[str] = []
        for segment in request.prompt:
            parts.append(self._text(segment, salt, before))
            before = 0
        return "".join(parts)

    def _text(self, segment: Segment, salt: str, before: int) -> str:
        if segment.text is not None:
            return segment.text
        return self.words.text(salt + segment.content, segment.n_tokens - before)
