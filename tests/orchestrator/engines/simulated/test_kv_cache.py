from hypothesis import given, settings
from hypothesis import strategies as st
from vllm_reference import ReferenceCache

from orchestrator.engines.simulated.blocks import Chain
from orchestrator.engines.simulated.kv_cache import KvCache

spans = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), min_size=1, max_size=4)


def tokens_of(spans):
    return [(content, i) for content, n in spans for i in range(n)]


def known_in(cache):
    """Return how many copies of each block the prefix cache holds, by the tokens of the block and its predecessors."""
    counts, nodes = {}, [cache._root]
    while nodes:
        node = nodes.pop()
        nodes += node.children.values()
        tokens = tokens_of_chain(node.chain)
        for block in range(node.start, node.end):
            counts[tuple(tokens[: (block + 1) * cache.block_size])] = len(node.extents)
    return counts


def queue_of(cache):
    """Return the free blocks in order of eviction, as their tokens or None."""
    order, extent = [], cache._free.head
    while extent is not cache._free._ring:
        if extent.node is None:
            order += [None] * extent.n_blocks
        else:
            node, size = extent.node, cache.block_size
            tokens = tokens_of_chain(node.chain)
            order += [tuple(tokens[: (b + 1) * size]) for b in reversed(range(node.start, node.end))]
        extent = extent.after
    return order


def tokens_of_chain(chain):
    starts = [0, *chain.ends]
    return [(c, i) for c, a, b in zip(chain.contents, starts, chain.ends, strict=False) for i in range(b - a)]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(spans, st.integers(0, 12), st.integers(0, 3)), max_size=30),
    st.sampled_from([1, 2, 3, 4]),
    st.integers(6, 30),
    st.booleans(),
)
def test_extents_equal_blocks_one_by_one(requests, block_size, n_blocks, prefix_caching):
    """Admit, grow and free at random: hits, free blocks, evictions and the queue are those of the block-wise cache."""
    cache = KvCache(n_blocks, block_size, prefix_caching=prefix_caching)
    reference = ReferenceCache(n_blocks, block_size, prefix_caching=prefix_caching)
    live = []
    for number, (prompt, n_more, n_ended) in enumerate(requests):
        all_spans = [*prompt, (f"out{number}", n_more + 1)]
        chain, tokens = Chain(all_spans, block_size), tokens_of(all_spans)
        n_prompt = len(tokens) - n_more - 1
        hit, reference_hit = cache.find(chain, n_prompt), reference.find(tokens[:n_prompt])
        assert hit.n_blocks == len(reference_hit)
        fits, reference_table = cache.fits(hit, n_prompt), []
        assert fits == reference.allocate(reference_table, tokens, n_prompt, reference_hit)
        if fits:
            live.append([cache.admit(chain, hit, n_prompt), reference_table, tokens, n_prompt])
        for held in live:
            n_next = min(held[3] + n_more, len(held[2]))
            n_new = -(-n_next // block_size) - -(-held[3] // block_size)
            if n_new <= cache.n_free:
                cache.allocate(n_new)
                cache.cache_blocks(held[0], n_next)
                assert reference.allocate(held[1], held[2], n_next)
                held[3] = n_next
        for _ in range(min(n_ended, len(live))):
            table, reference_table, _, n_tokens = live.pop(number % len(live))
            cache.release(table, n_tokens)
            reference.release(reference_table)
        assert cache.n_free == len(reference.free)
        assert known_in(cache) == {identity: len(blocks) for identity, blocks in reference.known.items()}
        assert queue_of(cache) == [block.identity for block in reference.free]


def test_a_prompt_longer_by_a_turn_hits_all_full_blocks_of_prompt_and_output():
    cache = KvCache(100, 16, prefix_caching=True)
    first = Chain([("system", 40), ("user", 30), ("r1", 50)], 16)
    table = cache.admit(first, cache.find(first, 70), 70)
    cache.allocate(-(-119 // 16) - -(-70 // 16))
    cache.release(table, 119)
    second = Chain([("system", 40), ("user", 30), ("r1", 50), ("user2", 10), ("r2", 5)], 16)
    assert cache.find(second, 130).n_blocks == 119 // 16


def test_a_whole_prompt_in_the_cache_leaves_its_last_block_to_compute():
    cache = KvCache(100, 16, prefix_caching=True)
    chain = Chain([("a", 32), ("r1", 1)], 16)
    table = cache.admit(chain, cache.find(chain, 32), 32)
    assert cache.find(Chain([("a", 32), ("r2", 1)], 16), 32).n_blocks == 1
    cache.release(table, 32)
    assert cache.n_free == 100


def test_the_tail_of_the_least_recently_used_chain_is_evicted_first():
    cache = KvCache(8, 1, prefix_caching=True)
    chains = {name: Chain([(name, 5)], 1) for name in "abc"}
    for name in "ab":
        cache.release(cache.admit(chains[name], cache.find(chains[name], 3), 3), 3)
    cache.allocate(4)  # two blocks were never used; then two blocks of a
    assert cache.find(chains["a"], 4).n_blocks == 1
    assert cache.find(chains["b"], 4).n_blocks == 3


def test_uncached_blocks_are_used_before_any_block_is_evicted():
    cache = KvCache(8, 2, prefix_caching=True)
    for name, n_tokens in (("a", 6), ("b", 9)):
        chain = Chain([(name, n_tokens)], 2)
        cache.release(cache.admit(chain, cache.find(chain, n_tokens), n_tokens), n_tokens)
    cache.allocate(1)  # the half-filled last block of b, though it was freed after all of a
    assert cache.find(Chain([("a", 8)], 2), 8).n_blocks == 3
    cache.allocate(1)
    assert cache.find(Chain([("a", 8)], 2), 8).n_blocks == 2


def test_without_prefix_caching_there_are_no_hits():
    cache = KvCache(8, 4, prefix_caching=False)
    chain = Chain([("a", 9)], 4)
    cache.release(cache.admit(chain, cache.find(chain, 9), 9), 9)
    assert cache.find(chain, 9).n_blocks == 0
    assert cache.n_free == 8
