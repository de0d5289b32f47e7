"""Time and energy of an iteration together, and the SM clock that a power limit allows."""

from dataclasses import dataclass, replace

from orchestrator.costmodel.power import EnergyRates, clipped_power_w, energy_rates
from orchestrator.costmodel.step_time import StepTime
from orchestrator.costmodel.work import Batch, ModelWork
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.spec.model import ModelSpec

CONTEXT_BUCKET_TOKENS = 128
"""The clock of decode-only iterations is decided once for each such range of the batch's mean context."""


@dataclass(frozen=True, slots=True)
class IterationCost:
    """Cost of an iteration at one clock; energies are those of all GPUs of the cell.

    Time and energy are linear in the context that is read, so sums over equal iterations have a closed form.
    ``power_capped``: the power limit, not the lock or the maximum, decided the clock.
    """

    sm_clock_mhz: int
    power_capped: bool
    fixed_s: float
    context_s: float  # per token of context
    static_w: float
    weights_j: float
    token_j: float  # per token scheduled
    sample_j: float  # per token sampled
    context_j: float  # per token of context, time left out
    pair_j: float  # per pair of a token and one it attends to

    def time_s(self, context_tokens: int) -> float:
        """Length of the iteration. Units: s."""
        return self.fixed_s + self.context_s * context_tokens

    def shared_j(self, time_s: float, n_iterations: int = 1) -> float:
        """What all sequences of a batch share: power that flows whatever is done, and reading the weights."""
        return self.static_w * time_s + self.weights_j * n_iterations

    def energy_j(self, batch: Batch) -> float:
        """Energy of the iteration on all GPUs. Units: J."""
        return (
            self.shared_j(self.time_s(batch.context_tokens))
            + self.token_j * batch.n_tokens
            + self.sample_j * batch.n_sampled
            + self.context_j * batch.context_tokens
            + self.pair_j * batch.n_pairs
        )

    def dimmed(self, share: float, idle_w: float) -> "IterationCost":
        """The same iteration with ``share`` of the power above ``idle_w``, the idle power of all GPUs of the cell."""
        return replace(
            self,
            static_w=idle_w + share * (self.static_w - idle_w),
            weights_j=share * self.weights_j,
            token_j=share * self.token_j,
            sample_j=share * self.sample_j,
            context_j=share * self.context_j,
            pair_j=share * self.pair_j,
        )


class CostModel:
    """The cost of any batch on the GPUs of a cell, at the clock its power limit and clock lock give."""

    def __init__(self, model: ModelSpec, hardware: HardwareSpec, n_gpus: int) -> None:
        self._hardware = hardware
        self._work = ModelWork(model, n_gpus)
        self._step_time = StepTime(self._work, hardware)
        self._wanted_mhz = hardware.sm_clock_mhz or hardware.max_sm_clock_mhz
        self._limit_w = hardware.effective_power_limit_w * n_gpus
        self._idle_w = hardware.idle_power_w * n_gpus
        self._rates: dict[int, EnergyRates] = {}
        self._decode: dict[tuple[int, int], IterationCost] = {}

    def cost(self, batch: Batch) -> IterationCost:
        """The cost at the largest clock whose power is within the limit, in steps of 1 MHz; never below the minimum."""
        return self._limited(batch, self._share_drawn(batch))

    def _limited(self, batch: Batch, share: float) -> IterationCost:
        wanted = self.modelled_at(batch, self._wanted_mhz, capped=False).dimmed(share, self._idle_w)
        if self._fits(wanted, batch):
            return wanted
        fitting_mhz, excess_mhz = self._hardware.min_sm_clock_mhz, self._wanted_mhz
        while excess_mhz - fitting_mhz > 1:
            middle_mhz = (fitting_mhz + excess_mhz) // 2
            if self._fits(self.modelled_at(batch, middle_mhz, capped=True).dimmed(share, self._idle_w), batch):
                fitting_mhz = middle_mhz
            else:
                excess_mhz = middle_mhz
        return self.modelled_at(batch, fitting_mhz, capped=True).dimmed(share, self._idle_w)

    def decode_cost(self, n_sequences: int, context_tokens: int) -> IterationCost:
        """The cost of a decode-only iteration, the same throughout a bucket of the mean context.

        Power is a ratio of linear functions of the context, so it is largest at an edge of the bucket: the lower of
        both edges' clocks keeps the limit everywhere between.
        """
        bucket = context_tokens // (n_sequences * CONTEXT_BUCKET_TOKENS)
        key = (n_sequences, bucket)
        if key not in self._decode:
            edges = (bucket * CONTEXT_BUCKET_TOKENS, (bucket + 1) * CONTEXT_BUCKET_TOKENS)
            batches = [_decode_batch(n_sequences, edge * n_sequences) for edge in edges]
            share = max(map(self._share_drawn, batches))
            costs = [self._limited(batch, share) for batch in batches]
            self._decode[key] = min(costs, key=lambda cost: cost.sm_clock_mhz)
        return self._decode[key]

    def modelled_at(self, batch: Batch, mhz: int, *, capped: bool) -> IterationCost:
        """The cost before what the default power limit takes off a heavy batch (`_share_drawn`)."""
        work, rates, ratio = self._work, self._rates_at(mhz), mhz / self._hardware.max_sm_clock_mhz
        n_gpus, sample_s = work.n_gpus, self._step_time.sample_s(ratio)
        return IterationCost(
            sm_clock_mhz=mhz,
            power_capped=capped,
            fixed_s=self._step_time.fixed_s(batch, ratio),
            context_s=self._step_time.context_s(ratio),
            static_w=n_gpus * rates.static_w,
            weights_j=n_gpus * rates.j_per_byte * (work.weight_bytes + work.expert_bytes(batch.n_tokens)),
            token_j=n_gpus * rates.j_per_flop * (work.flops_per_token + work.expert_flops_per_token),
            sample_j=n_gpus * (rates.j_per_flop * work.flops_per_sample + rates.sampling_w * sample_s),
            context_j=n_gpus * rates.j_per_byte * work.kv_bytes_per_token,
            pair_j=n_gpus * rates.j_per_flop * work.flops_per_pair,
        )

    def _share_drawn(self, batch: Batch) -> float:
        """Share of the modelled power above idle that the GPU draws at its highest clock under its default limit.

        Times were fitted on GPUs under that limit, so it lowers the power of a heavy batch and not its speed again.
        """
        free = self.modelled_at(batch, self._hardware.max_sm_clock_mhz, capped=False)
        free_w = free.energy_j(batch) / free.time_s(batch.context_tokens)
        drawn_w = clipped_power_w(free_w / self._work.n_gpus, self._hardware) * self._work.n_gpus
        return (drawn_w - self._idle_w) / (free_w - self._idle_w)

    def _fits(self, cost: IterationCost, batch: Batch) -> bool:
        return cost.energy_j(batch) <= self._limit_w * cost.time_s(batch.context_tokens)

    def _rates_at(self, mhz: int) -> EnergyRates:
        if mhz not in self._rates:
            self._rates[mhz] = energy_rates(self._hardware, mhz / self._hardware.max_sm_clock_mhz)
        return self._rates[mhz]


def _decode_batch(n_sequences: int, context_tokens: int) -> Batch:
    return Batch(n_tokens=n_sequences, n_sampled=n_sequences, context_tokens=context_tokens, n_pairs=context_tokens)
