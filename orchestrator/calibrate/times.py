"""First stage of a fit: the coefficients of step time, from the durations of iterations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from orchestrator.attribution.work import Ints
from orchestrator.calibrate.iterations import Iterations
from orchestrator.costmodel.step_time import StepTime
from orchestrator.costmodel.work import Batch, ModelWork
from orchestrator.measure.columns import Floats
from orchestrator.measure.map_fit import MapFit, Prior, fit_named, soft_l1
from orchestrator.spec.hardware import HardwareSpec

_EFFICIENCY = 0.3
_OVERHEAD = 0.5
"""Prior standard deviations of the logarithms of an efficiency and of an overhead."""

_DENSE = (
    Prior(name="weight_bandwidth_efficiency", log_deviation=_EFFICIENCY, upper=1.0),
    Prior(name="flop_efficiency", log_deviation=_EFFICIENCY, upper=1.0),
    Prior(name="kv_bandwidth_efficiency", log_deviation=_EFFICIENCY, upper=1.0),
    Prior(name="roofline_exponent", log_deviation=_EFFICIENCY, lower=1.0),
    Prior(name="step_overhead_s", log_deviation=_OVERHEAD),
    Prior(name="layer_overhead_s", log_deviation=_OVERHEAD),
    Prior(name="prefill_overhead_s", log_deviation=_OVERHEAD),
    Prior(name="sequence_overhead_s", log_deviation=_OVERHEAD),
)
_EXPERTS = (
    Prior(name="expert_bandwidth_efficiency", log_deviation=_EFFICIENCY, upper=1.0),
    Prior(name="expert_flop_efficiency", log_deviation=_EFFICIENCY, upper=1.0),
    Prior(name="moe_layer_overhead_s", log_deviation=_OVERHEAD),
)
_PARALLEL = (
    Prior(name="allreduce_bandwidth_efficiency", log_deviation=_EFFICIENCY, upper=1.0),
    Prior(name="allreduce_latency_s", log_deviation=_OVERHEAD),
)

NOISE_RATIO = 0.03
"""Expected relative error of the model, of the mean time of a group of iterations and of the energy of an interval."""
CELL_WEIGHT = 20.0
"""Effective number of independent observations of each cell, however many iterations it has."""
_BIN = 0.1
"""Iterations are one group if the logarithms of their tokens, samples and context round to the same bins."""
_STALL_RATIO = 3.0
"""An iteration this many times longer than the median of its group is a stall of the host, and not fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedWork:
    """Means over groups of similar iterations of one cell; ``share`` is each group's part of the cell's time.

    ``stalled_share`` is the part of the cell's time in iterations that are not fitted because they stalled.
    """

    work: ModelWork
    batch: Iterations
    time_s: Floats
    share: Floats
    stalled_share: float


class VectorStepTime(StepTime):
    """Equations of the simulated engine for many iterations at once: fields of a batch are arrays, shape (n,)."""

    def iteration_s(self, batch: Iterations) -> Floats:
        """Return the duration of each iteration at the highest clock. Units: s."""
        columns: dict[str, Any] = {
            "n_tokens": batch.tokens,
            "n_sampled": batch.sampled,
            "context_tokens": batch.context,
            "n_pairs": batch.pairs,
            "prefill_pairs": batch.prefill_pairs,
        }
        prefill_s = self._calibration.prefill_overhead_s * batch.has_prefill
        total_s: Floats = self.fixed_s(Batch(**columns), 1.0) + prefill_s + batch.context * self.context_s(1.0)
        return total_s

    def _roofline_s(self, memory_s: Any, compute_s: Any) -> Any:
        longer, shorter = np.maximum(memory_s, compute_s), np.minimum(memory_s, compute_s)
        exponent = self._calibration.roofline_exponent
        return longer * (1 + (shorter / longer) ** exponent) ** (1 / exponent)


def group_iterations(iterations: Iterations, work: ModelWork) -> TimedWork:
    """Average the iterations of a cell over groups of similar work, stalls excluded."""
    logs = [np.log1p(getattr(iterations, name)) for name in ("tokens", "sampled", "context", "prefill_pairs")]
    keys = np.stack([iterations.has_prefill, *(np.rint(log / _BIN) for log in logs)], axis=1)
    group: Ints = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    length_s = iterations.end_s - iterations.begin_s
    usual = iterations.time_s <= _STALL_RATIO * _medians(iterations.time_s, group)[group]
    weight = np.where(usual, iterations.n, 0.0)
    total = np.bincount(group, weight)

    def mean(values: Floats) -> Floats:
        return np.bincount(group, weight * values) / total

    batch = Iterations(**{field.name: mean(getattr(iterations, field.name)) for field in fields(Iterations)})
    time_s = np.bincount(group, np.where(usual, length_s, 0.0))
    return TimedWork(
        work=work,
        batch=batch,
        time_s=time_s / total,
        share=time_s / time_s.sum(),
        stalled_share=float(length_s[~usual].sum() / length_s.sum()),
    )


def _medians(values: Floats, group: Ints) -> Floats:
    """Return the lower median of each group; shape (groups,)."""
    order = np.lexsort((values, group))
    counts = np.bincount(group)
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    medians: Floats = values[order][firsts + (counts - 1) // 2]
    return medians


def time_priors(cells: Sequence[TimedWork]) -> tuple[Prior, ...]:
    """Return the priors of the coefficients on which the iterations of these cells depend."""
    experts = any(cell.work.n_moe_layers for cell in cells)
    parallel = any(cell.work.n_gpus > 1 for cell in cells)
    return (*_DENSE, *(_EXPERTS if experts else ()), *(_PARALLEL if parallel else ()))


def fit_times(cells: Sequence[TimedWork], prior: HardwareSpec, start: Mapping[str, float] | None = None) -> MapFit:
    """Fit the coefficients of step time to the iterations of all cells.

    Args:
        cells: measured.
        prior: the GPU with the prior coefficients.
        start: coefficients to start from; the prior ones if None.
    """
    priors = time_priors(cells)

    def residuals(values: Mapping[str, float]) -> Floats:
        hardware = with_calibration(prior, values)
        return np.concatenate([_residuals(cell, hardware) for cell in cells])

    centers = {one.name: float(getattr(prior.calibration, one.name)) for one in priors}
    return fit_named(priors, centers, residuals, start)


def _residuals(cell: TimedWork, hardware: HardwareSpec) -> Floats:
    off = np.log(VectorStepTime(cell.work, hardware).iteration_s(cell.batch) / cell.time_s)
    return np.sqrt(CELL_WEIGHT * cell.share) * soft_l1(off / NOISE_RATIO)


def time_ratios(cell: TimedWork, hardware: HardwareSpec) -> dict[str, float]:
    """Return predicted over measured time of the iterations that only decode, and of those with a prompt."""
    expected = cell.share * VectorStepTime(cell.work, hardware).iteration_s(cell.batch) / cell.time_s
    with_prompt = cell.batch.has_prefill > 0
    kinds = {"decode_time": ~with_prompt, "prefill_time": with_prompt}
    return {name: float(expected[of].sum() / cell.share[of].sum()) for name, of in kinds.items() if of.any()}


def with_calibration(
    hardware: HardwareSpec, values: Mapping[str, float], idle_power_w: float | None = None
) -> HardwareSpec:
    """Return the GPU with these coefficients replaced, and its idle power if given."""
    changed: dict[str, Any] = {"calibration": hardware.calibration.model_copy(update=dict(values))}
    if idle_power_w is not None:
        changed["idle_power_w"] = idle_power_w
    return hardware.model_copy(update=changed)
