"""What a request's tokens are, without any text: spans of named token streams, cut into blocks."""

from bisect import bisect_right
from collections.abc import Iterable

BlockKey = tuple[str | int, ...]


class Chain:
    """The token stream of a request: its prompt, then what it will generate, as spans ``(content, n_tokens)``.

    Token ``i`` of a span is token ``i`` of the stream that ``content`` names, so two chains agree exactly as far as
    their spans do.
    """

    __slots__ = ("block_size", "contents", "ends")

    def __init__(self, spans: Iterable[tuple[str, int]], block_size: int) -> None:
        self.block_size = block_size
        self.contents: list[str] = []
        self.ends: list[int] = []
        end = 0
        for content, n_tokens in spans:
            if n_tokens > 0:
                end += n_tokens
                self.contents.append(content)
                self.ends.append(end)

    def common_blocks(self, other: "Chain") -> int:
        """Number of leading whole blocks that are the same in both."""
        start = 0
        for content, other_content, end, other_end in zip(
            self.contents, other.contents, self.ends, other.ends, strict=False
        ):
            if content != other_content:
                break
            if end != other_end:
                start = min(end, other_end)
                break
            start = end
        return start // self.block_size

    def key(self, block: int) -> BlockKey:
        """What tells this block from others that follow the same blocks: the pieces of streams in it."""
        token = block * self.block_size
        end = token + self.block_size
        span = bisect_right(self.ends, token)
        offset = token - (self.ends[span - 1] if span else 0)
        if self.ends[span] >= end:
            return (self.contents[span], offset)
        pieces: list[str | int] = []
        while token < end:
            piece_end = min(self.ends[span], end)
            pieces += (self.contents[span], offset, piece_end - token)
            token, offset, span = piece_end, 0, span + 1
        return tuple(pieces)
