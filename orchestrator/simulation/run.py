"""A run: equal iterations that nothing interrupts, with times and energies in closed form."""

import math
from dataclasses import dataclass, field

from orchestrator.costmodel.cost import IterationCost
from orchestrator.simulation.decode_group import DecodeGroup
from orchestrator.simulation.scheduler import Step


@dataclass(slots=True, kw_only=True)
class Run:
    """``n_iterations`` iterations of one step, each of whose contexts is longer by ``n_decoding`` than the last."""

    start_s: float
    step: Step
    cost: IterationCost
    n_iterations: int
    context_tokens: int
    energy_j: float = 0.0
    prefill_energy_j: float = 0.0
    decode_energy_j: float = 0.0
    n_sampled: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_sampled = self.step.n_decoding + sum(chunk.samples for chunk in self.step.chunks)

    @property
    def end_s(self) -> float:
        """When the last iteration ends."""
        return self.end_of(self.n_iterations)

    @property
    def n_scheduled(self) -> int:
        """Sequences in each iteration."""
        return self.step.n_decoding + len(self.step.chunks)

    def end_of(self, iteration: int) -> float:
        """When the given iteration ends, counted from 1."""
        return self.start_s + self._time_s(iteration)

    def cut(self, now_s: float) -> bool:
        """End the run with the iteration in flight. Returns whether that is earlier than before."""
        first_s = self.cost.time_s(self.context_tokens)
        growth_s = self.cost.context_s * self.step.n_decoding
        linear = first_s - growth_s / 2
        elapsed_s = max(0.0, now_s - self.start_s)
        # The positive root of growth/2 n² + linear n = elapsed, in the form that does not cancel.
        n = math.ceil(2 * elapsed_s / (linear + math.sqrt(linear * linear + 2 * growth_s * elapsed_s)))
        while n > 1 and self.end_of(n - 1) >= now_s:
            n -= 1
        while n < 1 or self.end_of(n) < now_s:
            n += 1
        if n >= self.n_iterations:
            return False
        self.n_iterations = n
        return True

    def charge(self, decoding: DecodeGroup) -> None:
        """Divide the run's energy among its sequences: equal shares of what all need, and what each asks for itself."""
        cost, n_decoding, n = self.cost, self.step.n_decoding, self.n_iterations
        share_j = cost.shared_j(self._time_s(n), n) / self.n_scheduled
        own_j = share_j + n * (cost.token_j + cost.sample_j)
        context_j = cost.context_j + cost.pair_j
        for chunk in self.step.chunks:
            energy_j = (
                share_j
                + cost.token_j * chunk.n_tokens
                + cost.sample_j * chunk.samples
                + cost.context_j * chunk.end
                + cost.pair_j * chunk.n_pairs
            )
            chunk.sequence.prefill_energy_j += energy_j
            self.prefill_energy_j += energy_j
        if n_decoding:
            first = decoding.context_tokens
            self.decode_energy_j = n_decoding * own_j + context_j * (n * first + n_decoding * n * (n - 1) / 2)
            decoding.charge(n, own_j, context_j)
        self.energy_j = self.prefill_energy_j + self.decode_energy_j

    def _time_s(self, n: int) -> float:
        context = n * self.context_tokens + self.step.n_decoding * n * (n - 1) / 2
        return n * self.cost.fixed_s + self.cost.context_s * context
