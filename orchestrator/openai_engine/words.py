"""Text whose length a server's own tokenizer has measured: words of equally many tokens each."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from orchestrator.errors import CellError

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Words of ``tokens_each`` tokens; ``overhead`` tokens are put before every prompt."""

    words: tuple[str, ...]
    tokens_each: int
    overhead: int

    def text(self, content: str, n_tokens: int) -> str:
        """The first words of a content's stream, as many as come nearest to ``n_tokens``; each begins with a space."""
        return _stream(self.words, content, max(1, round(n_tokens / self.tokens_each)))


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
