"""Prompts of exact length: token ids, or text of words whose token counts were measured with the server's tokenizer."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from orchestrator.engines.openai.dialect import Dialect
from orchestrator.engines.openai.http import BUSY, Client, response_error
from orchestrator.engines.openai.stream import request_completion
from orchestrator.errors import CellError
from workflows.request import Request, Segment, prompt_token_ids

TokenCounter = Callable[[str], Awaitable[int]]
"""Counts the tokens of a text, including those that the server adds."""

_TOKENIZE_PATH = "/tokenize"
_WORDS = (
    "the of and to in is you that it he was for on are as with his they at be this have from or one had by word but "
    "not what all were we when your can said there use an each which she do how their if will up other about out many "
    "then them these so some her would make like him into time has look two more write go see number no way could "
    "people my than first water been call who oil its now find long down day did get come made may part"
)
_CANDIDATES = tuple(_WORDS.split())
"""Common English words, which most tokenizers encode as one token each."""
_REPEATS = 8


class PromptBuilder(Protocol):
    """Builds the prompt of a request; another ``salt`` gives another prompt of the same length."""

    def prompt(self, request: Request, salt: str) -> str | list[int]:
        """Return the whole prompt."""
        ...


@dataclass(frozen=True, slots=True)
class TokenPrompts:
    """Prompts of token ids: exact lengths, and the real tokens of earlier steps."""

    vocab_size: int

    def prompt(self, request: Request, salt: str) -> list[int]:
        """Return as many ids as the request's segments have tokens."""
        return prompt_token_ids(request, self.vocab_size, salt=salt)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredWords:
    """Words of ``tokens_each`` tokens; the server adds ``overhead`` tokens before every prompt."""

    words: tuple[str, ...]
    tokens_each: int
    overhead: int

    def text(self, content: str, n_tokens: int) -> str:
        """Return text of about ``n_tokens`` tokens; a shorter text of the same ``content`` is a prefix of a longer one.

        Every word begins with a space.
        """
        return _random_text(self.words, content, max(1, round(n_tokens / self.tokens_each)))


@lru_cache(maxsize=256)
def _random_text(words: tuple[str, ...], content: str, n_words: int) -> str:
    seed = int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big")
    indices = np.random.default_rng(seed).integers(0, len(words), size=n_words)
    return "".join(f" {words[index]}" for index in indices)


@dataclass(frozen=True, slots=True)
class TextPrompts:
    """Prompts of text: words of measured length, and the real text of earlier steps."""

    words: MeasuredWords

    def prompt(self, request: Request, salt: str) -> str:
        """Return text of as many tokens as the request's segments have; the server's overhead counts as part of it."""
        overhead = self.words.overhead
        parts: list[str] = []
        for segment in request.prompt:
            parts.append(self._text(segment, salt, overhead))
            overhead = 0
        return "".join(parts)

    def _text(self, segment: Segment, salt: str, overhead: int) -> str:
        if segment.text is not None:
            return segment.text
        return self.words.text(salt + segment.content, segment.n_tokens - overhead)


async def token_counter(client: Client, dialect: Dialect) -> TokenCounter:
    """Return a counter that uses a completion's usage, or ``/tokenize`` if the server sends no usage.

    Raises:
        CellError: the server has neither.
        InfrastructureError: the server cannot be reached or is busy.
    """
    if dialect.counts:

        async def count_by_usage(text: str) -> int:
            completion, _ = await request_completion(client, dialect.body(text, 1, return_ids=False))
            return int((completion.usage or {})["prompt_tokens"])

        return count_by_usage

    for field in ("prompt", "inputs", "content"):  # vLLM and SGLang, TGI, llama.cpp
        if await _count_by_tokenizer(client, {field: " the"}) is not None:

            async def count_by_tokenizer(text: str, field: str = field) -> int:
                return await _count_by_tokenizer(client, {field: text}) or 0

            return count_by_tokenizer
    raise CellError("the server does not count tokens: it has neither usage nor /tokenize, so text cannot be measured")


async def _count_by_tokenizer(client: Client, body: dict[str, Any]) -> int | None:
    """Return the length of the list in the response, bare or as ``tokens``; None if there is none."""
    response = await client.post(_TOKENIZE_PATH, body)
    if response.status in BUSY:
        raise response_error(response, _TOKENIZE_PATH)
    if response.status != 200:
        return None
    try:
        content = json.loads(response.body)
    except ValueError:
        return None
    tokens = content.get("tokens") if isinstance(content, dict) else content
    return len(tokens) if isinstance(tokens, list) else None


async def measure_words(count: TokenCounter) -> MeasuredWords:
    """Return the candidate words that the server's tokenizer encodes as one token each, or as the fewest.

    Raises:
        CellError: the counts do not grow with the number of words.
    """
    one, many = await count(_repeated("the", 1)), await count(_repeated("the", 1 + _REPEATS))
    overhead = one - (many - one) // _REPEATS
    if await count("".join(f" {word}" for word in _CANDIDATES)) == overhead + len(_CANDIDATES):
        return MeasuredWords(words=_CANDIDATES, tokens_each=1, overhead=overhead)
    repeated_tokens = {word: await count(_repeated(word, _REPEATS)) - overhead for word in _CANDIDATES}
    tokens_each = {word: n // _REPEATS for word, n in repeated_tokens.items() if n >= _REPEATS and n % _REPEATS == 0}
    if not tokens_each:
        raise CellError("no text of known length can be built: the server's token counts do not grow with the words")
    fewest = min(tokens_each.values())
    words = tuple(word for word, n in tokens_each.items() if n == fewest)
    return MeasuredWords(words=words, tokens_each=fewest, overhead=overhead)


def _repeated(word: str, n: int) -> str:
    return f" {word}" * n
