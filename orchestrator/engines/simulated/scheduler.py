"""The scheduler of vLLM V1: what runs in the next iteration."""

from dataclasses import dataclass

from orchestrator.engines.simulated.decode_group import DecodeGroup
from orchestrator.engines.simulated.kv_cache import KvCache
from orchestrator.engines.simulated.sequence import Sequence
from orchestrator.engines.simulated.waiting import waiting_queue
from orchestrator.spec.engine import EngineOptions


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of a prompt, or of a sequence computed again, that one iteration computes."""

    sequence: Sequence
    start: int
    n_tokens: int

    @property
    def end(self) -> int:
        """Tokens of the sequence that are computed when the chunk is."""
        return self.start + self.n_tokens

    @property
    def samples(self) -> bool:
        """Whether the chunk reaches the last known token, so that a new one is sampled."""
        return self.end == self.sequence.n_known

    @property
    def n_pairs(self) -> int:
        """Pairs of a token of the chunk and one it attends to."""
        return self.n_tokens * self.start + self.n_tokens * (self.n_tokens + 1) // 2


@dataclass(frozen=True, slots=True)
class Step:
    """One scheduled iteration; every decoding sequence is in it. ``preempted``: blocks ran out."""

    chunks: tuple[Chunk, ...]
    n_decoding: int
    n_waiting: int
    preempted: bool


class Scheduler:
    """Continuous batching: running sequences first, in order, then waiting ones while tokens and blocks last."""

    def __init__(self, options: EngineOptions, cache: KvCache) -> None:
        self.cache = cache
        self.decoding = DecodeGroup(options.block_size)
        self.queue = waiting_queue(options.scheduling_policy)
        self._options = options
        self._running: dict[Sequence, None] = {}
        self._partial: Sequence | None = None
        self._served: set[Sequence] | DecodeGroup = set()
        self._held_up: list[Sequence] = []
        self._n_admissions = 0
        self._n_preemptions = 0

    @property
    def has_work(self) -> bool:
        """Whether any request is running or waiting."""
        return bool(self._running or self.queue)

    def schedule(self) -> Step:
        """Fill the next iteration; blocks for it are allocated, and known to the cache at once, as in vLLM."""
        step = self._step()
        while self.has_work and not (step.chunks or step.n_decoding):  # one yielded that held up all others
            self._go_on()
            step = self._step()
        return step

    def _step(self) -> Step:
        chunks: list[Chunk] = []
        n_before = self._n_preemptions
        if self._allocate_for_decoding() and self._partial is not None:
            self._continue(self._partial, chunks)
        preempted = self._n_preemptions > n_before
        if not preempted:
            self._admit(chunks)
        return Step(tuple(chunks), len(self.decoding), len(self.queue), preempted)

    def run_length(self, limit: int) -> int:
        """How many decode-only iterations, at most ``limit``, follow without a decision: no end, no lack of blocks."""
        limit = min(limit, self.decoding.iterations_to_first_end())
        return self.decoding.iterations_within(self.cache.n_free, limit)

    def complete(self, step: Step, n_iterations: int) -> list[Sequence]:
        """Account for ``n_iterations`` such iterations. Returns the sequences that ended, which `free` lets go."""
        self.cache.take(self.decoding.blocks_needed(n_iterations, after=1))
        ended = self.decoding.advance(n_iterations)
        for chunk in step.chunks:
            self._complete_chunk(chunk, ended)
        self._go_on()
        return ended

    def free(self, ended: list[Sequence]) -> None:
        """Free the blocks of sequences that ended."""
        for sequence in ended:
            self._release(sequence)

    def drop(self, sequence: Sequence) -> None:
        """Forget a request that nobody waits for any more."""
        if sequence in self._running:
            self._release(sequence)
        else:
            self.queue.remove(sequence)

    def _allocate_for_decoding(self) -> bool:
        """Blocks for the decoding sequences. Returns whether all that follow in the iteration may go on, too."""
        n_blocks = self.decoding.blocks_needed(1)
        if n_blocks <= self.cache.n_free:
            self.cache.take(n_blocks)
            self._served = self.decoding
            return True
        served = self._served = set[Sequence]()
        for sequence in list(self._running):
            if sequence not in self.decoding:  # it yielded, or is a prompt begun before
                continue
            if self.decoding.needs_block(sequence):
                if not self._make_room(1, sequence):
                    self._hold_up(served)
                    return False
                self.cache.take(1)
            served.add(sequence)
        return True

    def _hold_up(self, served: set[Sequence]) -> None:
        """The sequences after one that yielded its own place sit the iteration out, as in vLLM."""
        self._held_up = [sequence for sequence in self._running if sequence in self.decoding and sequence not in served]
        for sequence in self._held_up:
            self.decoding.leave(sequence)

    def _go_on(self) -> None:
        """Sequences that sat an iteration out decode again."""
        for sequence in self._held_up:
            self.decoding.join(sequence)
        self._held_up.clear()

    def _continue(self, sequence: Sequence, chunks: list[Chunk]) -> None:
        """The next chunk of a prompt begun before, if there is room for it."""
        left = self._options.max_num_batched_tokens - len(self.decoding)
        chunk = Chunk(sequence, sequence.n_computed, min(left, sequence.n_known - sequence.n_computed))
        n_blocks = self._n_blocks(chunk.end) - self._n_blocks(chunk.start)
        if self._make_room(n_blocks, sequence):
            self.cache.take(n_blocks)
            self.cache.know(sequence.table, chunk.end)
            chunks.append(chunk)

    def _admit(self, chunks: list[Chunk]) -> None:
        left = self._options.max_num_batched_tokens - len(self.decoding) - sum(chunk.n_tokens for chunk in chunks)
        while self.queue and left > 0 and len(self._running) < self._options.max_num_seqs:
            sequence = self.queue.head
            hit = self.cache.find(sequence.chain, sequence.n_known)
            start = hit.n_blocks * self.cache.block_size
            n_tokens = min(sequence.n_known - start, left)
            if start + n_tokens < sequence.n_known and not self._may_chunk(sequence):
                return
            if not self.cache.fits(hit, sequence.n_known):  # all its chunks, not only the first
                return
            sequence.table = self.cache.admit(sequence.chain, hit, start + n_tokens)
            self._start(sequence, start)
            chunks.append(Chunk(sequence, start, n_tokens))
            left -= n_tokens

    def _may_chunk(self, sequence: Sequence) -> bool:
        """Whether a prompt may be split; always where a preempted request has outgrown the budget."""
        return self._options.enable_chunked_prefill or sequence.n_known > self._options.max_num_batched_tokens

    def _start(self, sequence: Sequence, n_cached: int) -> None:
        self.queue.remove(sequence)
        self._running[sequence] = None
        self._n_admissions += 1
        sequence.admission = self._n_admissions
        sequence.n_computed = n_cached
        if sequence.cached_tokens is None:
            sequence.cached_tokens = n_cached

    def _complete_chunk(self, chunk: Chunk, ended: list[Sequence]) -> None:
        sequence = chunk.sequence
        self._partial = None if chunk.samples else sequence
        sequence.n_computed = chunk.end
        if not chunk.samples:
            return
        sequence.n_generated += 1
        if sequence.ended:
            ended.append(sequence)
        else:
            self.decoding.join(sequence)

    def _make_room(self, n_blocks: int, sequence: Sequence) -> bool:
        """Preempt until blocks are free. Returns False when ``sequence`` itself had to yield."""
        while self.cache.n_free < n_blocks:
            victim = self.queue.victim(self._running)
            self._release(victim, n_scheduled=int(victim in self._served))
            victim.n_computed = 0
            self._n_preemptions += 1
            victim.n_preemptions += 1
            self.queue.put_back(victim)
            if victim is sequence:
                return False
        return True

    def _release(self, sequence: Sequence, n_scheduled: int = 0) -> None:
        """Take a sequence out of the batch; blocks for ``n_scheduled`` tokens more than are computed are its own."""
        if sequence in self.decoding:
            self.decoding.leave(sequence)
        if sequence is self._partial:
            self._partial = None
        del self._running[sequence]
        self.cache.release(sequence.table, sequence.n_computed + n_scheduled)

    def _n_blocks(self, n_tokens: int) -> int:
        return -(-n_tokens // self.cache.block_size)
