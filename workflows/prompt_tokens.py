"""The token ids of a prompt, for an engine that needs real ones.

A segment whose tokens a model generated brings them along. Any other segment is a stream of ids drawn at random from
its content id, so that equal contents are equal tokens in every process, and a shorter segment of a content is a prefix
of a longer one.
"""

import hashlib
from functools import lru_cache

import numpy as np

from workflows.request import Request, Segment

_MARGIN = 0.05
"""Share of the vocabulary left out at either end, where tokenizers keep their special tokens."""


def prompt_token_ids(request: Request, vocab_size: int, *, salt: str = "") -> list[int]:
    """The ids of the whole prompt, each below ``vocab_size``; as many as ``request.prompt_tokens``.

    Ids that a model of a larger vocabulary generated, for a role on another engine, are folded into this one.

    Another ``salt`` draws other streams: prompts that no earlier cell has put into a cache that cannot be emptied.

    Raises:
        ValueError: a generated segment has another number of ids than tokens.
    """
    found: list[int] = []
    for segment in request.prompt:
        found.extend(_segment_ids(segment, vocab_size, salt))
    return found


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
    """The first ids of a content's stream; kept, because a shared prefix is asked for with every request."""
    margin = int(_MARGIN * vocab_size)
    seed = int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big")
    ids: list[int] = np.random.default_rng(seed).integers(margin, vocab_size - margin, size=n_tokens).tolist()
    return tuple(ids)
