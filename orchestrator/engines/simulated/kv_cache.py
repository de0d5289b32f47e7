"""The KV cache as vLLM V1 manages it: blocks, prefix caching, eviction of the least recently used.

It gives the same result for every block as vLLM's ``KVCacheManager`` and ``BlockPool`` (the tests compare it with such
a reference), but manages extents: the cost of a request grows with the spans of its prompt, not with its blocks.
"""

from dataclasses import dataclass, field

from orchestrator.engines.simulated.blocks import Chain, Extent, FreeQueue, Node


@dataclass(slots=True)
class _HeldBlocks:
    """Consecutive blocks of a request: ``extent`` and the extents split off it later."""

    extent: Extent
    n_blocks: int

    def extents(self) -> list[Extent]:
        """Return the extents of these blocks, in order."""
        extents, left, extent = [], self.n_blocks, self.extent
        while True:
            extents.append(extent)
            left -= extent.n_blocks
            if not left:
                return extents
            assert extent.rest is not None
            extent = extent.rest


@dataclass(slots=True)
class BlockTable:
    """The blocks of one request; the first ``n_cached`` are full and in the prefix cache."""

    chain: Chain
    n_cached: int = 0
    held: list[_HeldBlocks] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hit:
    """The longest cached prefix of a chain: the nodes, each with the number of its blocks that are hit."""

    nodes: tuple[tuple[Node, int], ...]
    n_blocks: int

    @property
    def n_free(self) -> int:
        """Hit blocks without references; reusing them reduces the free blocks by this number."""
        return sum(n for node, n in self.nodes if not node.extents[0].references)


_NO_HIT = Hit((), 0)


class KvCache:
    """A cache of ``n_blocks`` blocks of ``block_size`` tokens."""

    def __init__(self, n_blocks: int, block_size: int, *, prefix_caching: bool) -> None:
        self.n_blocks = n_blocks
        self.block_size = block_size
        self.prefix_caching = prefix_caching
        self._free = FreeQueue(n_blocks)
        self._root = Node(None, Chain((), block_size), 0, 0)

    @property
    def n_free(self) -> int:
        """Blocks without references, including those in the prefix cache."""
        return self._free.n_blocks

    def blocks_for(self, n_tokens: int) -> int:
        """Return the number of blocks that ``n_tokens`` tokens occupy."""
        return -(-n_tokens // self.block_size)

    def find(self, chain: Chain, n_tokens: int) -> Hit:
        """Return the cached prefix of the first ``n_tokens`` of a chain; at least one token remains to be computed."""
        if not self.prefix_caching:
            return _NO_HIT
        limit = (n_tokens - 1) // self.block_size
        node, nodes, position = self._root, [], 0
        while position < limit:
            child = node.children.get(chain.key(position))
            if child is None:
                break
            end = min(chain.common_blocks(child.chain), child.end, limit)
            nodes.append((child, end - position))
            position = end
            if end < child.end:
                break
            node = child
        return Hit(tuple(nodes), position)

    def fits(self, hit: Hit, n_tokens: int) -> bool:
        """Return whether enough blocks are free for ``n_tokens`` tokens, those of ``hit`` included."""
        return self.blocks_for(n_tokens) - hit.n_blocks + hit.n_free <= self.n_free

    def admit(self, chain: Chain, hit: Hit, n_tokens: int) -> BlockTable:
        """Allocate blocks for the first ``n_tokens`` of a chain and reuse those of ``hit``; requires `fits`."""
        n_new = self.blocks_for(n_tokens) - hit.n_blocks
        table = BlockTable(chain)
        for node, n_blocks in hit.nodes:
            self._reuse(table, node, n_blocks)
        self.allocate(n_new)
        self.cache_blocks(table, n_tokens)
        return table

    def allocate(self, n_blocks: int) -> None:
        """Allocate free blocks and evict their content; requires ``n_blocks <= n_free``."""
        while n_blocks:
            extent = self._free.head
            if extent.n_blocks > n_blocks:
                self._evict_end(extent, n_blocks)
                return
            n_blocks -= extent.n_blocks
            self._free.remove(extent)
            if extent.node is not None:
                self._remove_extent(extent, extent.node)

    def cache_blocks(self, table: BlockTable, n_tokens: int) -> None:
        """Add the full blocks among the first ``n_tokens`` of a request to the prefix cache."""
        until = n_tokens // self.block_size
        if not self.prefix_caching or until <= table.n_cached:
            return
        node = self._leaf(table)
        if self._grow(table, node, until):
            return
        while table.n_cached < until:
            node = self._child(node, table.chain, table.n_cached, until)
            extent = Extent(node, node.end - node.start, 1)
            node.extents.append(extent)
            table.held.append(_HeldBlocks(extent, extent.n_blocks))
            table.n_cached = node.end

    def release(self, table: BlockTable, n_tokens: int) -> None:
        """Free all blocks of a request, the last one first; ``n_tokens`` is the number of tokens they hold."""
        self.cache_blocks(table, n_tokens)
        n_uncached = self.blocks_for(n_tokens) - table.n_cached
        if n_uncached:
            self._free.prepend_uncached(n_uncached)
        for held in reversed(table.held):
            for extent in reversed(held.extents()):
                extent.references -= 1
                if not extent.references:
                    self._free.append(extent)

    def _reuse(self, table: BlockTable, node: Node, n_blocks: int) -> None:
        if n_blocks < node.end - node.start:
            self._split(node, node.start + n_blocks)
        extent = node.extents[0]
        if not extent.references:
            self._free.remove(extent)
        extent.references += 1
        table.held.append(_HeldBlocks(extent, n_blocks))
        table.n_cached = node.end

    def _leaf(self, table: BlockTable) -> Node:
        if not table.held:
            return self._root
        node = table.held[-1].extents()[-1].node
        assert node is not None
        return node

    def _grow(self, table: BlockTable, leaf: Node, until: int) -> bool:
        """Extend the last extent if only this request uses it, the usual case in decoding; return whether it did."""
        if leaf.chain is not table.chain or leaf.children or len(leaf.extents) > 1:
            return False
        extent = leaf.extents[0]
        if extent.references != 1:
            return False
        n_more = until - leaf.end
        leaf.end = table.n_cached = until
        extent.n_blocks += n_more
        table.held[-1].n_blocks += n_more
        return True

    def _child(self, parent: Node, chain: Chain, start: int, until: int) -> Node:
        """Return the node after ``parent`` along ``chain``, created or split so that it ends at ``until`` or before."""
        key = chain.key(start)
        child = parent.children.get(key)
        if child is None:
            child = parent.children[key] = Node(parent, chain, start, until)
            return child
        end = min(chain.common_blocks(child.chain), until)
        if end < child.end:
            self._split(child, end)
        return child

    def _split(self, node: Node, at: int) -> Node:
        """Split a node and its extents at a block; ``node`` keeps the first part. Return the second."""
        second = Node(node, node.chain, at, node.end)
        second.children, node.children = node.children, {node.chain.key(at): second}
        for child in second.children.values():
            child.parent = second
        node.end = at
        for extent in node.extents:
            rest = Extent(second, second.end - at, extent.references)
            rest.rest, extent.rest = extent.rest, rest
            extent.n_blocks -= rest.n_blocks
            second.extents.append(rest)
            if not extent.references:
                self._free.split(extent, rest)
        return second

    def _evict_end(self, extent: Extent, n_blocks: int) -> None:
        node = extent.node
        if node is not None and len(node.extents) > 1:
            index = node.extents.index(extent)
            second = self._split(node, node.end - n_blocks)
            evicted = second.extents[index]
            self._free.remove(evicted)
            self._remove_extent(evicted, second)
            return
        self._free.shrink(extent, n_blocks)
        if node is not None:
            node.end -= n_blocks

    def _remove_extent(self, extent: Extent, node: Node) -> None:
        node.extents.remove(extent)
        if not node.extents and node.parent is not None:
            del node.parent.children[node.chain.key(node.start)]
