"""First stage: the coefficients of step time, from iterations alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from benchmarks.h200.fit_iterations import Iterations
from benchmarks.h200.fit_posterior import Coefficient, Found, most_probable, softened
from orchestrator.costmodel.step_time import StepTime
from orchestrator.costmodel.work import Batch, ModelWork
from orchestrator.measure.columns import Floats
from orchestrator.spec.hardware import HardwareSpec

_EFFICIENCY = 0.3
_OVERHEAD = 0.5
"""Deviations of logarithms: what is believed of an efficiency, of an overhead, before anything was measured."""

_DENSE = (
    Coefficient(name="weight_bandwidth_efficiency", log_deviation=_EFFICIENCY, most=1.0),
    Coefficient(name="flop_efficiency", log_deviation=_EFFICIENCY, most=1.0),
    Coefficient(name="kv_bandwidth_efficiency", log_deviation=_EFFICIENCY, most=1.0),
    Coefficient(name="roofline_exponent", log_deviation=_EFFICIENCY, least=1.0),
    Coefficient(name="step_overhead_s", log_deviation=_OVERHEAD),
    Coefficient(name="layer_overhead_s", log_deviation=_OVERHEAD),
    Coefficient(name="prefill_overhead_s", log_deviation=_OVERHEAD),
    Coefficient(name="sequence_overhead_s", log_deviation=_OVERHEAD),
)
_EXPERTS = (
    Coefficient(name="expert_bandwidth_efficiency", log_deviation=_EFFICIENCY, most=1.0),
    Coefficient(name="expert_flop_efficiency", log_deviation=_EFFICIENCY, most=1.0),
    Coefficient(name="moe_layer_overhead_s", log_deviation=_OVERHEAD),
)
_PARALLEL = (
    Coefficient(name="allreduce_bandwidth_efficiency", log_deviation=_EFFICIENCY, most=1.0),
    Coefficient(name="allreduce_latency_s", log_deviation=_OVERHEAD),
)

_NOISE_RATIO = 0.03
"""By how much the model may miss the mean time of alike iterations."""
_CELL_WEIGHT = 20.0
"""Each cell counts as so many independent looks, spread over its iterations by the time these took."""
_BIN = 0.1
"""Iterations whose logarithms of tokens, samples and context are within this are alike."""
_STALL = 3.0
"""An iteration that took so many times the median of those alike is no work of the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedWork:
    """Means over alike iterations of one cell, ``share`` of its time each; ``stalled_share`` of it is left out."""

    work: ModelWork
    batch: Iterations
    time_s: Floats
    share: Floats
    stalled_share: float


class StepTimes(StepTime):
    """The simulator's own equations for many iterations at once: fields of a batch are arrays, shape (n,)."""

    def many_s(self, batch: Iterations) -> Floats:
        """How long each iteration takes at the highest clock. Units: s."""
        plain = self.fixed_s(_batch(batch), 1.0)
        prefill_s = self._calibration.prefill_overhead_s * batch.has_prefill
        total_s: Floats = plain + prefill_s + batch.context * self.context_s(1.0)
        return total_s

    def _roofline_s(self, memory_s: Any, compute_s: Any) -> Any:
        longer, shorter = np.maximum(memory_s, compute_s), np.minimum(memory_s, compute_s)
        exponent = self._calibration.roofline_exponent
        return longer * (1 + (shorter / longer) ** exponent) ** (1 / exponent)


def _batch(batch: Iterations) -> Batch:
    columns: dict[str, Any] = {
        "n_tokens": batch.tokens,
        "n_sampled": batch.sampled,
        "context_tokens": batch.context,
        "n_pairs": batch.pairs,
        "prefill_pairs": batch.prefill_pairs,
    }
    return Batch(**columns)


def timed_work(iterations: Iterations, work: ModelWork) -> TimedWork:
    """Iterations of a cell, those alike taken together."""
    logs = [np.log1p(getattr(iterations, name)) for name in ("tokens", "sampled", "context", "prefill_pairs")]
    keys = np.stack([iterations.has_prefill, *(np.rint(log / _BIN) for log in logs)], axis=1)
    _, of = np.unique(keys, axis=0, return_inverse=True)
    of = of.reshape(-1)
    took_s = iterations.end_s - iterations.begin_s
    usual = iterations.time_s <= _STALL * _medians(iterations.time_s, of)[of]
    weight = np.where(usual, iterations.n, 0.0)
    total = np.bincount(of, weight)

    def mean(values: Floats) -> Floats:
        return np.bincount(of, weight * values) / total

    batch = Iterations(**{field.name: mean(getattr(iterations, field.name)) for field in fields(Iterations)})
    time_s = np.bincount(of, np.where(usual, took_s, 0.0))
    return TimedWork(
        work=work,
        batch=batch,
        time_s=time_s / total,
        share=time_s / time_s.sum(),
        stalled_share=float(took_s[~usual].sum() / took_s.sum()),
    )


def _medians(values: Floats, of: Any) -> Floats:
    order = np.lexsort((values, of))
    counts = np.bincount(of)
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    medians: Floats = values[order][firsts + (counts - 1) // 2]
    return medians


def time_coefficients(cells: Sequence[TimedWork]) -> tuple[Coefficient, ...]:
    """Those that the iterations of these cells depend on."""
    experts = any(cell.work.n_moe_layers for cell in cells)
    parallel = any(cell.work.n_gpus > 1 for cell in cells)
    return (*_DENSE, *(_EXPERTS if experts else ()), *(_PARALLEL if parallel else ()))


def fitted_times(cells: Sequence[TimedWork], assumed: HardwareSpec, start: Mapping[str, float] | None = None) -> Found:
    """The coefficients of step time that explain the iterations of all cells."""
    coefficients = time_coefficients(cells)

    def residuals(values: Mapping[str, float]) -> Floats:
        hardware = with_calibration(assumed, values)
        return np.concatenate([_residuals(cell, hardware) for cell in cells])

    before = {one.name: float(getattr(assumed.calibration, one.name)) for one in coefficients}
    return most_probable(coefficients, before, residuals, start)


def _residuals(cell: TimedWork, hardware: HardwareSpec) -> Floats:
    off = np.log(StepTimes(cell.work, hardware).many_s(cell.batch) / cell.time_s)
    return np.sqrt(_CELL_WEIGHT * cell.share) * softened(off / _NOISE_RATIO)


def time_ratios(cell: TimedWork, hardware: HardwareSpec) -> dict[str, float]:
    """The time that a GPU would have taken over what was measured: of iterations that only decode, and of the rest."""
    expected = cell.share * StepTimes(cell.work, hardware).many_s(cell.batch) / cell.time_s
    with_prompt = cell.batch.has_prefill > 0
    kinds = {"decode_time": ~with_prompt, "prefill_time": with_prompt}
    return {name: float(expected[of].sum() / cell.share[of].sum()) for name, of in kinds.items() if of.any()}


def with_calibration(
    hardware: HardwareSpec, values: Mapping[str, float], idle_power_w: float | None = None
) -> HardwareSpec:
    """The GPU with some other coefficients, and idle power where one is given."""
    calibration = hardware.calibration.model_copy(update=dict(values))
    changed: dict[str, Any] = {"calibration": calibration}
    if idle_power_w is not None:
        changed["idle_power_w"] = idle_power_w
    return hardware.model_copy(update=changed)
