"""Time and energy of an iteration at the SM clock that the power limit and the clock lock allow."""

from dataclasses import dataclass, replace

from orchestrator.costmodel.power import EnergyRates, clipped_power_w, energy_rates
from orchestrator.costmodel.step_time import StepTime
from orchestrator.costmodel.work import Batch, ModelWork
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.spec.model import ModelSpec

CONTEXT_BUCKET_TOKENS = 128
"""The clock of decode-only iterations is constant within each range of so many tokens of the mean context."""


@dataclass(frozen=True, slots=True)
class IterationCost:
    """The cost of an iteration at one clock; energies are sums over all GPUs of the cell.

    Time and energy are linear in the context, so sums over equal iterations have a closed form.
    ``power_capped``: the power limit, not the clock lock or the maximum clock, determined the clock.
    """

    sm_clock_mhz: int
    power_capped: bool
    fixed_s: float
    context_s: float  # per token of context
    static_w: float
    weights_j: float
    token_j: float  # per token scheduled
    sample_j: float  # per token sampled
    context_j: float  # per token of context, without the static power during its reading
    pair_j: float  # per pair of a token and a token that it attends to

    def time_s(self, context_tokens: int) -> float:
        """Return the duration of the iteration. Units: s."""
        return self.fixed_s + self.context_s * context_tokens

    def shared_j(self, time_s: float, n_iterations: int = 1) -> float:
        """Return the energy that all sequences of a batch share: static power, and reading the weights. Units: J."""
        return self.static_w * time_s + self.weights_j * n_iterations

    def energy_j(self, batch: Batch) -> float:
        """Return the energy of the iteration on all GPUs. Units: J."""
        return (
            self.shared_j(self.time_s(batch.context_tokens))
            + self.token_j * batch.n_tokens
            + self.sample_j * batch.n_sampled
            + self.context_j * batch.context_tokens
            + self.pair_j * batch.n_pairs
        )

    def scaled(self, share: float, idle_w: float) -> "IterationCost":
        """Return the cost with ``share`` of the power above ``idle_w``, the idle power of all GPUs of the cell."""
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
    """The cost of any batch on the GPUs of a cell, under its power limit and clock lock."""

    def __init__(self, model: ModelSpec, hardware: HardwareSpec, n_gpus: int) -> None:
        self._hardware = hardware
        self._work = ModelWork(model, n_gpus)
        self._step_time = StepTime(self._work, hardware)
        self._max_mhz = hardware.sm_clock_mhz or hardware.max_sm_clock_mhz
        self._limit_w = hardware.effective_power_limit_w * n_gpus
        self._idle_w = hardware.idle_power_w * n_gpus
        self._rates: dict[int, EnergyRates] = {}
        self._decode: dict[tuple[int, int], IterationCost] = {}

    def cost(self, batch: Batch) -> IterationCost:
        """Return the cost at the highest clock (steps of 1 MHz) within the power limit, or at the minimum clock."""
        return self._within_limit(batch, self._drawn_share(batch))

    def _within_limit(self, batch: Batch, share: float) -> IterationCost:
        uncapped = self.modelled_at(batch, self._max_mhz, capped=False).scaled(share, self._idle_w)
        if self._fits(uncapped, batch):
            return uncapped
        fitting_mhz, excess_mhz = self._hardware.min_sm_clock_mhz, self._max_mhz
        while excess_mhz - fitting_mhz > 1:
            middle_mhz = (fitting_mhz + excess_mhz) // 2
            if self._fits(self.modelled_at(batch, middle_mhz, capped=True).scaled(share, self._idle_w), batch):
                fitting_mhz = middle_mhz
            else:
                excess_mhz = middle_mhz
        return self.modelled_at(batch, fitting_mhz, capped=True).scaled(share, self._idle_w)

    def decode_cost(self, n_sequences: int, context_tokens: int) -> IterationCost:
        """Return the cost of a decode-only iteration, which is the same within a bucket of the mean context.

        Power is a ratio of linear functions of the context, so its maximum in the bucket is at one of the edges. The
        lower of the clocks at the two edges therefore keeps the limit in the whole bucket.
        """
        bucket = context_tokens // (n_sequences * CONTEXT_BUCKET_TOKENS)
        key = (n_sequences, bucket)
        if key not in self._decode:
            edges = (bucket * CONTEXT_BUCKET_TOKENS, (bucket + 1) * CONTEXT_BUCKET_TOKENS)
            batches = [_decode_batch(n_sequences, edge * n_sequences) for edge in edges]
            share = max(map(self._drawn_share, batches))
            costs = [self._within_limit(batch, share) for batch in batches]
            self._decode[key] = min(costs, key=lambda cost: cost.sm_clock_mhz)
        return self._decode[key]

    def modelled_at(self, batch: Batch, mhz: int, *, capped: bool) -> IterationCost:
        """Return the cost at ``mhz`` without the reduction by the default power limit (`_drawn_share`)."""
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

    def _drawn_share(self, batch: Batch) -> float:
        """Return the share of the modelled power above idle that is drawn at the highest clock under the default limit.

        Times were fitted on GPUs under that limit. So it reduces the power of a heavy batch, but not its speed again.
        """
        modelled = self.modelled_at(batch, self._hardware.max_sm_clock_mhz, capped=False)
        modelled_w = modelled.energy_j(batch) / modelled.time_s(batch.context_tokens)
        drawn_w = clipped_power_w(modelled_w / self._work.n_gpus, self._hardware) * self._work.n_gpus
        return (drawn_w - self._idle_w) / (modelled_w - self._idle_w)

    def _fits(self, cost: IterationCost, batch: Batch) -> bool:
        return cost.energy_j(batch) <= self._limit_w * cost.time_s(batch.context_tokens)

    def _rates_at(self, mhz: int) -> EnergyRates:
        if mhz not in self._rates:
            self._rates[mhz] = energy_rates(self._hardware, mhz / self._hardware.max_sm_clock_mhz)
        return self._rates[mhz]


def _decode_batch(n_sequences: int, context_tokens: int) -> Batch:
    return Batch(n_tokens=n_sequences, n_sampled=n_sequences, context_tokens=context_tokens, n_pairs=context_tokens)
