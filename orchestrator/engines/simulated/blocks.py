"""Blocks of tokens without text, in the data structures of the simulated prefix cache.

A `Chain` is the token stream of a request. `Node` is a part of a chain in the cache, `Extent` the physical blocks that
hold it, `FreeQueue` the order in which free blocks are reused.
"""

from bisect import bisect_right
from collections.abc import Iterable

BlockKey = tuple[str | int, ...]


class Chain:
    """The token stream of a request: its prompt and its future output, as spans ``(content, n_tokens)``.

    Token ``i`` of a span is token ``i`` of the stream named ``content``. So two chains have equal tokens exactly as far
    as they have equal spans.
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
        """Return the number of leading full blocks that are equal in both chains."""
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
        """Return a key of a block, unique among blocks with the same predecessors: the parts of streams in it."""
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


class Node:
    """Blocks ``start`` to ``end`` of a chain in the prefix cache, and the extents that hold them.

    There are several extents if requests computed equal blocks at the same time; a lookup returns the first.
    """

    __slots__ = ("chain", "children", "end", "extents", "parent", "start")

    def __init__(self, parent: "Node | None", chain: Chain, start: int, end: int) -> None:
        self.parent = parent
        self.chain = chain
        self.start = start
        self.end = end
        self.children: dict[BlockKey, Node] = {}
        self.extents: list[Extent] = []


class Extent:
    """``n_blocks`` physical blocks with one reference count; ``node`` is None if they are not in the prefix cache.

    ``rest`` is the extent that was split off its end: a holder of all blocks follows ``rest`` to find them.
    ``before`` and ``after`` are its neighbours in the `FreeQueue`.
    """

    __slots__ = ("after", "before", "n_blocks", "node", "references", "rest")

    def __init__(self, node: Node | None, n_blocks: int, references: int) -> None:
        self.node = node
        self.n_blocks = n_blocks
        self.references = references
        self.rest: Extent | None = None
        self.before: Extent = self
        self.after: Extent = self


class FreeQueue:
    """Extents without references in order of eviction: uncached blocks first, then the least recently used.

    An extent is evicted from its end.
    """

    __slots__ = ("_ring", "n_blocks")

    def __init__(self, n_blocks: int) -> None:
        self._ring = Extent(None, 0, 0)
        self.n_blocks = 0
        if n_blocks:
            self.append(Extent(None, n_blocks, 0))

    @property
    def head(self) -> Extent:
        """The extent to evict next; the queue must not be empty."""
        return self._ring.after

    def append(self, extent: Extent) -> None:
        """Add the most recently used extent."""
        self._link_before(self._ring, extent)
        self.n_blocks += extent.n_blocks

    def prepend_uncached(self, n_blocks: int) -> None:
        """Add blocks that are not in the prefix cache; they are reused first."""
        if self.n_blocks and self.head.node is None:
            self.head.n_blocks += n_blocks
        else:
            self._link_before(self._ring.after, Extent(None, n_blocks, 0))
        self.n_blocks += n_blocks

    def remove(self, extent: Extent) -> None:
        """Remove an extent that is reused or evicted."""
        extent.before.after = extent.after
        extent.after.before = extent.before
        self.n_blocks -= extent.n_blocks

    def shrink(self, extent: Extent, n_blocks: int) -> None:
        """Evict the last ``n_blocks`` of an extent in the queue, fewer than it has."""
        extent.n_blocks -= n_blocks
        self.n_blocks -= n_blocks

    def split(self, extent: Extent, rest: Extent) -> None:
        """Insert ``rest``, split off the end of a free ``extent``, before it, because ends are evicted first."""
        self._link_before(extent, rest)

    @staticmethod
    def _link_before(place: Extent, extent: Extent) -> None:
        extent.before, extent.after = place.before, place
        place.before.after = extent
        place.before = extent
