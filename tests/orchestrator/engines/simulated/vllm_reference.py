"""vLLM V1's KV cache and scheduler, block by block and token by token: slow, short, and close to the original.

Written after vllm/v1/core/{block_pool,kv_cache_utils,kv_cache_manager}.py and vllm/v1/core/sched/scheduler.py of 2026:
a request is admitted if all its tokens fit (``scheduler_reserve_full_isl``), and freed blocks without a hash go first.
"""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Block:
    identity: tuple | None = None
    references: int = 0


class ReferenceCache:
    def __init__(self, n_blocks, block_size, *, prefix_caching=True):
        self.block_size, self.prefix_caching = block_size, prefix_caching
        self.free = [Block() for _ in range(n_blocks)]
        self.known: dict[tuple, list[Block]] = {}

    def identities(self, tokens):
        size = self.block_size
        return [tuple(tokens[: i + size]) for i in range(0, len(tokens) - size + 1, size)]

    def find(self, tokens):
        hits = []
        if self.prefix_caching:
            for identity in self.identities(tokens)[: (len(tokens) - 1) // self.block_size]:
                if identity not in self.known:
                    break
                hits.append(self.known[identity][0])
        return hits

    def new_blocks(self, n):
        taken, self.free = self.free[:n], self.free[n:]
        for block in taken:
            if block.identity is not None:
                self.known[block.identity].remove(block)
                if not self.known[block.identity]:
                    del self.known[block.identity]
            block.identity, block.references = None, 1
        return taken

    def needed(self, table, n_tokens, hit=()):
        n_new = -(-n_tokens // self.block_size) - len(table) - len(hit)
        return n_new + sum(block.references == 0 for block in hit)

    def allocate(self, table, tokens, n_tokens, hit=(), *, whole=False):
        """Blocks for the first ``n_tokens``; False where there are too few, for all tokens if ``whole``."""
        if self.needed(table, len(tokens) if whole else n_tokens, hit) > len(self.free):
            return False
        n_new = -(-n_tokens // self.block_size) - len(table) - len(hit)
        for block in hit:
            if block.references == 0:
                self.free.remove(block)
            block.references += 1
            table.append(block)
        table += self.new_blocks(n_new)
        if self.prefix_caching:
            for block, identity in zip(table, self.identities(tokens[:n_tokens]), strict=False):
                if block.identity is None:
                    block.identity = identity
                    self.known.setdefault(identity, []).append(block)
        return True

    def release(self, table):
        freed = []
        for block in reversed(table):
            block.references -= 1
            if not block.references:
                freed.append(block)
        self.free[:0] = [block for block in freed if block.identity is None]
        self.free += [block for block in freed if block.identity is not None]
        table.clear()


@dataclass(eq=False)
class ReferenceRequest:
    name: str
    prompt: list
    n_output: int
    rank: tuple = ()
    n_generated: int = 0
    n_computed: int = 0
    n_preemptions: int = 0
    cached: int | None = None
    table: list = field(default_factory=list)

    @property
    def tokens(self):
        return self.prompt + [(self.name, i) for i in range(self.n_generated)]


class ReferenceScheduler:
    """``by_rank``: the lowest rank first, as under vLLM's policy ``priority``, whose rank is (priority, arrival)."""

    def __init__(self, cache, *, max_num_seqs, max_num_batched_tokens, chunked=True, by_rank=False):
        self.cache, self.max_num_seqs, self.budget, self.chunked = cache, max_num_seqs, max_num_batched_tokens, chunked
        self.by_rank, self.waiting, self.running = by_rank, [], []

    def schedule(self):
        """One iteration: the number of tokens of each request, by name."""
        left, scheduled, preempted = self.budget, {}, False
        if self.by_rank:
            self.waiting.sort(key=lambda request: request.rank)
        for request in list(self.running):
            if request not in self.running:
                continue
            if left == 0:
                break
            n = min(len(request.tokens) - request.n_computed, left)
            while not self.cache.allocate(request.table, request.tokens, request.n_computed + n):
                preempted = True
                victim = max(self.running, key=lambda r: r.rank) if self.by_rank else self.running[-1]
                self.running.remove(victim)
                left += scheduled.pop(victim, 0)
                self.cache.release(victim.table)
                victim.n_computed = 0
                victim.n_preemptions += 1
                self.waiting.insert(0, victim)
                if victim is request:
                    break
            if request not in self.running:
                break
            scheduled[request] = n
            left -= n
        while not preempted and self.waiting and left and len(self.running) < self.max_num_seqs:
            request = self.waiting[0]
            hit = self.cache.find(request.tokens)
            start = len(hit) * self.cache.block_size
            n = len(request.tokens) - start
            if n > left and not self.chunked and len(request.tokens) <= self.budget:
                break
            n = min(n, left)
            if not self.cache.allocate(request.table, request.tokens, start + n, hit, whole=True):
                break
            self.running.append(self.waiting.pop(0))
            request.n_computed = start
            if request.cached is None:
                request.cached = start
            scheduled[request] = n
            left -= n
        self.complete(scheduled)
        return {request.name: n for request, n in scheduled.items()}

    def complete(self, scheduled):
        for request, n in scheduled.items():
            request.n_computed += n
            if request.n_computed == len(request.tokens):
                request.n_generated += 1
                if request.n_generated == request.n_output:
                    self.running.remove(request)
                    self.cache.release(request.table)
