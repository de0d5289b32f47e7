"""The scheduler of vLLM V1: which sequences run in the next iteration, and which are preempted."""

from dataclasses import dataclass

from orchestrator.engines.simulated.decode_group import DecodeGroup
from orchestrator.engines.simulated.kv_cache import KvCache
from orchestrator.engines.simulated.sequence import Sequence
from orchestrator.engines.simulated.waiting import waiting_queue
from orchestrator.spec.engine import EngineOptions


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of a prompt, or of a preempted sequence, that one iteration computes."""

    sequence: Sequence
    start: int
    n_tokens: int

    @property
    def end(self) -> int:
        """Computed tokens of the sequence after the iteration."""
        return self.start + self.n_tokens

    @property
    def samples(self) -> bool:
        """Whether the chunk includes the last known token, so that a new one is sampled."""
        return self.end == self.sequence.n_known

    @property
    def n_pairs(self) -> int:
        """Number of pairs of a token of the chunk and a token that it attends to."""
        return self.n_tokens * self.start + self.n_tokens * (self.n_tokens + 1) // 2


@dataclass(frozen=True, slots=True)
class Step:
    """One scheduled iteration, with all decoding sequences. ``preempted``: a sequence was preempted for it."""

    chunks: tuple[Chunk, ...]
    n_decoding: int
    n_waiting: int
    preempted: bool


class Scheduler:
    """Continuous batching: running sequences first, in order, then waiting ones while tokens and blocks are left."""

    def __init__(self, options: EngineOptions, cache: KvCache) -> None:
        self.cache = cache
        self.decoding = DecodeGroup(options.block_size)
        self.queue = waiting_queue(options.scheduling_policy)
        self._options = options
        self._running: dict[Sequence, None] = {}
        self._partial: Sequence | None = None
        self._with_blocks: set[Sequence] | DecodeGroup = set()
        self._paused: list[Sequence] = []
        self._n_admissions = 0
        self._n_preemptions = 0

    @property
    def has_work(self) -> bool:
        """Whether any request is running or waiting."""
        return bool(self._running or self.queue)

    def schedule(self) -> Step:
        """Return the next iteration; its blocks are allocated and in the prefix cache at once, as in vLLM."""
        step = self._step()
        while self.has_work and not (step.chunks or step.n_decoding):  # one preempted itself and paused all others
            self._resume()
            step = self._step()
        return step

    def _step(self) -> Step:
        chunks: list[Chunk] = []
        n_before = self._n_preemptions
        if self._allocate_for_decoding() and self._partial is not None:
            self._continue_prompt(self._partial, chunks)
        preempted = self._n_preemptions > n_before
        if not preempted:
            self._admit(chunks)
        return Step(tuple(chunks), len(self.decoding), len(self.queue), preempted)

    def run_length(self, limit: int) -> int:
        """Return how many decode-only iterations (1 to ``limit``) follow until a sequence ends or blocks run out."""
        limit = min(limit, self.decoding.iterations_to_first_end())
        return self.decoding.iterations_within(self.cache.n_free, limit)

    def complete(self, step: Step, n_iterations: int) -> list[Sequence]:
        """Account for ``n_iterations`` iterations of ``step``; return the sequences that ended, for `free`."""
        self.cache.allocate(self.decoding.blocks_needed(n_iterations, after=1))
        ended = self.decoding.advance(n_iterations)
        for chunk in step.chunks:
            self._complete_chunk(chunk, ended)
        self._resume()
        return ended

    def free(self, ended: list[Sequence]) -> None:
        """Free the blocks of sequences that ended."""
        for sequence in ended:
            self._release(sequence)

    def drop(self, sequence: Sequence) -> None:
        """Remove a cancelled request."""
        if sequence in self._running:
            self._release(sequence)
        else:
            self.queue.remove(sequence)

    def _allocate_for_decoding(self) -> bool:
        """Allocate blocks for the decoding sequences; return False if one of them preempted itself."""
        n_blocks = self.decoding.blocks_needed(1)
        if n_blocks <= self.cache.n_free:
            self.cache.allocate(n_blocks)
            self._with_blocks = self.decoding
            return True
        allocated = self._with_blocks = set[Sequence]()
        for sequence in list(self._running):
            if sequence not in self.decoding:  # preempted, or a partly computed prompt
                continue
            if self.decoding.needs_block(sequence):
                if not self._preempt_until_free(1, sequence):
                    self._pause_rest(allocated)
                    return False
                self.cache.allocate(1)
            allocated.add(sequence)
        return True

    def _pause_rest(self, allocated: set[Sequence]) -> None:
        """Pause for one iteration the sequences after one that preempted itself, as in vLLM."""
        self._paused = [
            sequence for sequence in self._running if sequence in self.decoding and sequence not in allocated
        ]
        for sequence in self._paused:
            self.decoding.leave(sequence)

    def _resume(self) -> None:
        """Return the paused sequences to the decode group."""
        for sequence in self._paused:
            self.decoding.join(sequence)
        self._paused.clear()

    def _continue_prompt(self, sequence: Sequence, chunks: list[Chunk]) -> None:
        """Add the next chunk of a partly computed prompt, if blocks can be freed for it."""
        left = self._options.max_num_batched_tokens - len(self.decoding)
        chunk = Chunk(sequence, sequence.n_computed, min(left, sequence.n_known - sequence.n_computed))
        n_blocks = self.cache.blocks_for(chunk.end) - self.cache.blocks_for(chunk.start)
        if self._preempt_until_free(n_blocks, sequence):
            self.cache.allocate(n_blocks)
            self.cache.cache_blocks(sequence.table, chunk.end)
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
            if not self.cache.fits(hit, sequence.n_known):  # blocks for all chunks, not only the first
                return
            sequence.table = self.cache.admit(sequence.chain, hit, start + n_tokens)
            self._start_sequence(sequence, start)
            chunks.append(Chunk(sequence, start, n_tokens))
            left -= n_tokens

    def _may_chunk(self, sequence: Sequence) -> bool:
        """Return whether a prompt may be split; true for a preempted sequence that is longer than the token budget."""
        return self._options.enable_chunked_prefill or sequence.n_known > self._options.max_num_batched_tokens

    def _start_sequence(self, sequence: Sequence, n_cached: int) -> None:
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

    def _preempt_until_free(self, n_blocks: int, sequence: Sequence) -> bool:
        """Preempt sequences until blocks are free; return False if ``sequence`` itself was preempted."""
        while self.cache.n_free < n_blocks:
            victim = self.queue.victim(self._running)
            self._release(victim, n_scheduled=int(victim in self._with_blocks))
            victim.n_computed = 0
            self._n_preemptions += 1
            victim.n_preemptions += 1
            self.queue.put_back(victim)
            if victim is sequence:
                return False
        return True

    def _release(self, sequence: Sequence, n_scheduled: int = 0) -> None:
        """Remove a sequence from the batch; free its blocks, with those for ``n_scheduled`` tokens not yet computed."""
        if sequence in self.decoding:
            self.decoding.leave(sequence)
        if sequence is self._partial:
            self._partial = None
        del self._running[sequence]
        self.cache.release(sequence.table, sequence.n_computed + n_scheduled)
