"""The decoding sequences: each gets one token in every iteration, so all advance without an update per sequence.

The state of a sequence is stored relative to the count of iterations: its length is ``offset`` plus that count, it ends
when the count reaches ``ends_at``, and its energy is a difference of cumulative sums. So an iteration, or a run of a
thousand iterations, has the same cost for every batch size.
"""

import heapq
import itertools
from collections.abc import Iterator

from orchestrator.engines.simulated.sequence import Sequence

_REBASE_ITERATIONS = 4096
"""The sums of energy restart after so many iterations, so that their differences keep their precision."""


class DecodeGroup:
    """The decoding sequences, and the count of all iterations so far."""

    def __init__(self, block_size: int) -> None:
        self.n_iterations = 0
        self._block_size = block_size
        self._members: dict[Sequence, None] = {}
        self._offsets = 0
        self._by_phase = [0] * block_size
        self._ends: list[tuple[int, int, int, Sequence]] = []
        self._joins = itertools.count()
        self._share_j = 0.0
        self._context_j = 0.0
        self._index_j = 0.0
        self._base = 0

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self._members

    @property
    def context_tokens(self) -> int:
        """Tokens whose keys and values the next iteration reads, its own included."""
        return self._offsets + len(self._members) * (self.n_iterations + 1)

    def computed(self) -> Iterator[tuple[Sequence, int]]:
        """Return the members, each with its number of computed tokens before the next iteration."""
        return ((sequence, sequence.offset + self.n_iterations) for sequence in self._members)

    def join(self, sequence: Sequence) -> None:
        """Add a sequence that has just sampled a token and needs more."""
        sequence.offset = sequence.n_computed - self.n_iterations
        sequence.ends_at = sequence.n_prompt + sequence.n_output - 1 - sequence.offset
        self._members[sequence] = None
        self._offsets += sequence.offset
        self._by_phase[sequence.offset % self._block_size] += 1
        heapq.heappush(self._ends, (sequence.ends_at, sequence.admission, next(self._joins), sequence))
        self._mark(sequence)

    def leave(self, sequence: Sequence) -> None:
        """Remove a sequence and update its length and energy."""
        self._settle(sequence)
        sequence.n_computed = sequence.offset + self.n_iterations
        sequence.n_generated = sequence.n_computed + 1 - sequence.n_prompt
        sequence.ends_at = None
        del self._members[sequence]
        self._offsets -= sequence.offset
        self._by_phase[sequence.offset % self._block_size] -= 1

    def needs_block(self, sequence: Sequence) -> bool:
        """Return whether the next iteration writes the first token of a block of this member."""
        return (sequence.offset + self.n_iterations) % self._block_size == 0

    def blocks_needed(self, n_iterations: int, *, after: int = 0) -> int:
        """Return the blocks that all members need in the next ``n_iterations``, without the first ``after`` of them."""
        size, first = self._block_size, self.n_iterations + after
        cycles, rest = divmod(n_iterations - after, size)
        return cycles * len(self._members) + sum(self._by_phase[-(first + i) % size] for i in range(rest))

    def iterations_to_first_end(self) -> int:
        """Return the iterations until a member gets its last token; the group must not be empty."""
        while self._ends[0][3].ends_at != self._ends[0][0]:
            heapq.heappop(self._ends)
        return self._ends[0][0] - self.n_iterations

    def iterations_within(self, n_blocks: int, limit: int) -> int:
        """Return the most iterations (1 to ``limit``) that need at most ``n_blocks`` blocks after the first one."""
        if self.blocks_needed(limit, after=1) <= n_blocks:
            return limit
        n = 1 + self._block_size * (n_blocks // len(self._members))
        while self.blocks_needed(n + 1, after=1) <= n_blocks:
            n += 1
        return n

    def advance(self, n_iterations: int) -> list[Sequence]:
        """Count completed iterations; remove and return the members that ended, in the order of their admission."""
        self.n_iterations += n_iterations
        ended = []
        while self._ends and self._ends[0][0] <= self.n_iterations:
            ends_at, _, _, sequence = heapq.heappop(self._ends)
            if sequence.ends_at == ends_at:
                self.leave(sequence)
                ended.append(sequence)
        return ended

    def charge(self, n_iterations: int, share_j: float, context_j: float) -> None:
        """Charge every member the energy of the next ``n_iterations``; call it before `advance`.

        Args:
            n_iterations: iterations with these members.
            share_j: energy of one member in all iterations, equal for all members. Units: J.
            context_j: energy per iteration and token of context. Units: J.
        """
        first = self.n_iterations + 1 - self._base
        self._share_j += share_j
        self._context_j += context_j * n_iterations
        self._index_j += context_j * (n_iterations * first + n_iterations * (n_iterations - 1) / 2)
        if first + n_iterations > _REBASE_ITERATIONS:
            self._rebase()

    def _rebase(self) -> None:
        for sequence in self._members:
            self._settle(sequence)
        self._share_j = self._context_j = self._index_j = 0.0
        self._base = self.n_iterations
        for sequence in self._members:
            self._mark(sequence)

    def _mark(self, sequence: Sequence) -> None:
        sequence.mark_share_j = self._share_j
        sequence.mark_context_j = self._context_j
        sequence.mark_index_j = self._index_j

    def _settle(self, sequence: Sequence) -> None:
        context_j = self._context_j - sequence.mark_context_j
        sequence.decode_energy_j += (
            (self._share_j - sequence.mark_share_j)
            + (sequence.offset + self._base) * context_j
            + (self._index_j - sequence.mark_index_j)
        )
