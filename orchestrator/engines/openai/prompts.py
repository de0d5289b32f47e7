"""Prompts in the form a server takes them."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from orchestrator.engines.openai.dialect import Dialect
from orchestrator.engines.openai.errors import BUSY, refusal
from orchestrator.engines.openai.http import Client
from orchestrator.engines.openai.stream import ask
from orchestrator.errors import CellError
from workflows.prompt_tokens import prompt_token_ids
from workflows.request import Request, Segment

_PATH = "/tokenize"

Count = Callable[[str], Awaitable[int]]
"""Counts the tokens of a text, with what the server puts around it."""

_TEXT = (
    "the of and to in is you that it he was for on are as with his they at be this have from or one had by word but "
    "not what all were we when your can said there use an each which she do how their if will up other about out many "
    "then them these so some her would make like him into time has look two more write go see number no way could "
    "people my than first water been call who oil its now find long down day did get come made may part"
)
_CANDIDATES = tuple(_TEXT.split())
_REPEATS = 8


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Words of ``tokens_each`` tokens; ``overhead`` tokens are put before every prompt."""

    words: tuple[str, ...]
    tokens_each: int
    overhead: int

    def text(self, content: str, n_tokens: int) -> str:
        """The first words of a content's stream, as many as come nearest to ``n_tokens``; each begins with a space."""
        return _stream(self.words, content, max(1, round(n_tokens / self.tokens_each)))


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


async def counter(client: Client, dialect: Dialect) -> Count:
    """Counts by a completion's usage, which holds what the server puts around a prompt; else by its ``/tokenize``.

    Raises:
        CellError: the server does neither.
        InfrastructureError: it is not reached or too busy.
    """
    if dialect.counts:

        async def by_usage(text: str) -> int:
            answer, _ = await ask(client, dialect.body(text, 1, ids_back=False))
            return int((answer.usage or {})["prompt_tokens"])

        return by_usage

    for field in ("prompt", "inputs", "content"):  # vLLM and SGLang, TGI, llama.cpp
        if await _tokens(client, {field: " the"}) is not None:

            async def by_tokenizer(text: str, field: str = field) -> int:
                return await _tokens(client, {field: text}) or 0

            return by_tokenizer
    raise CellError("the server counts no tokens: it has neither usage nor /tokenize, so no text can be measured")


async def _tokens(client: Client, body: dict[str, Any]) -> int | None:
    """The length of the list that comes back, bare or as ``tokens``."""
    response = await client.post(_PATH, body)
    if response.status in BUSY:
        raise refusal(response, _PATH)
    if response.status != 200:
        return None
    try:
        found = json.loads(response.body)
    except ValueError:
        return None
    listed = found.get("tokens") if isinstance(found, dict) else found
    return len(listed) if isinstance(listed, list) else None


@lru_cache(maxsize=256)
def _stream(words: tuple[str, ...], content: str, n_words: int) -> str:
    seed = int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big")
    drawn = np.random.default_rng(seed).integers(0, len(words), size=n_words)
    return "".join(f" {words[index]}" for index in drawn)


async def measured_words(count: Count) -> Words:
    """Find the words that the server's tokenizer takes for one token each, or for the fewest.

    Raises:
        CellError: its counts follow no rule.
    """
    one, many = await count(_repeated("the", 1)), await count(_repeated("the", 1 + _REPEATS))
    overhead = one - (many - one) // _REPEATS
    if await count("".join(f" {word}" for word in _CANDIDATES)) == overhead + len(_CANDIDATES):
        return Words(words=_CANDIDATES, tokens_each=1, overhead=overhead)
    length = {word: await count(_repeated(word, _REPEATS)) - overhead for word in _CANDIDATES}
    whole = {word: n // _REPEATS for word, n in length.items() if n >= _REPEATS and n % _REPEATS == 0}
    if not whole:
        raise CellError("no text of known length can be made: the server's token counts do not grow with the words")
    fewest = min(whole.values())
    words = tuple(word for word, n in whole.items() if n == fewest)
    return Words(words=words, tokens_each=fewest, overhead=overhead)


def _repeated(word: str, n: int) -> str:
    return f" {word}" * n
