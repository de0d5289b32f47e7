"""Second stage: the coefficients of power, from energies between readings of the counter and the iterations in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.h200.fit_iterations import Iterations
from benchmarks.h200.fit_posterior import Coefficient, Found, most_probable, softened
from benchmarks.h200.fit_time import with_calibration
from orchestrator.attribution.energy_model import Timeline
from orchestrator.attribution.readings import Readings
from orchestrator.costmodel.power import energy_rates
from orchestrator.costmodel.step_time import StepTime
from orchestrator.costmodel.work import ModelWork
from orchestrator.measure.columns import Floats
from orchestrator.spec.hardware import HardwareSpec

STATIC_ABOVE_IDLE = "static_above_idle_w"
"""Fitted in the place of ``static_power_w``, which is never below idle power."""

_COEFFICIENTS = tuple(
    Coefficient(name=name, log_deviation=0.5)
    for name in (STATIC_ABOVE_IDLE, "memory_power_w", "compute_power_w", "sampling_power_w")
)
_INTERVAL_S = 1.0
_BUSY_SHARE = 0.5
_NOISE_RATIO = 0.03
_CELL_WEIGHT = 20.0
LAGS_S = (0.0, 0.05, 0.1, 0.15)
"""How late a sensor may tell."""

_SUSTAINED_SHARE, _CLIP_EXPONENT = 0.985, 12
"""Of `orchestrator.costmodel.power.clipped_power_w`, which takes one power at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoweredWork:
    """The iterations of a cell and what the counters of its GPUs read. Work is one GPU's, of a row of iterations."""

    work: ModelWork
    iterations: Iterations
    readings: Readings
    bytes_: Floats
    flops: Floats
    samples: Floats


def powered_work(iterations: Iterations, work: ModelWork, readings: Readings) -> PoweredWork:
    """What iterations of a model asked of each GPU; `orchestrator.costmodel.cost` says the same of one."""
    n = iterations.n
    moved = work.weight_bytes + work.expert_bytes(iterations.tokens) + iterations.context * work.kv_bytes_per_token  # type: ignore[arg-type]
    flops = (
        iterations.tokens * (work.flops_per_token + work.expert_flops_per_token)
        + iterations.sampled * work.flops_per_sample
        + iterations.pairs * work.flops_per_pair
    )
    return PoweredWork(
        work=work,
        iterations=iterations,
        readings=readings.every(_INTERVAL_S),
        bytes_=n * moved,
        flops=n * flops,
        samples=n * iterations.sampled,
    )


def fitted_power(
    cells: Sequence[PoweredWork],
    assumed: HardwareSpec,
    fitted: HardwareSpec,
    *,
    lag_s: float,
    start: Mapping[str, float] | None = None,
) -> Found:
    """The coefficients of power that explain the energies of all cells.

    Args:
        cells: measured.
        assumed: what is believed before of power.
        fitted: with the times that were found, and idle power.
        lag_s: how late the sensor tells.
        start: where to begin.
    """
    intervals = [_Intervals(cell, lag_s) for cell in cells]

    def residuals(values: Mapping[str, float]) -> Floats:
        hardware = with_power(fitted, values)
        return np.concatenate([one.residuals(hardware) for one in intervals])

    before = {name: float(getattr(assumed.calibration, name)) for name in _names()}
    before[STATIC_ABOVE_IDLE] = assumed.calibration.static_power_w - assumed.idle_power_w
    return most_probable(_COEFFICIENTS, before, residuals, start)


def with_power(hardware: HardwareSpec, values: Mapping[str, float]) -> HardwareSpec:
    """The GPU with these coefficients of power, as `fitted_power` names them."""
    plain = {name: values[name] for name in _names()}
    return with_calibration(hardware, {**plain, "static_power_w": hardware.idle_power_w + values[STATIC_ABOVE_IDLE]})


def power_coefficients() -> tuple[Coefficient, ...]:
    """Those that are fitted."""
    return _COEFFICIENTS


def _names() -> tuple[str, ...]:
    return tuple(one.name for one in _COEFFICIENTS if one.name != STATIC_ABOVE_IDLE)


def energy_ratio(cell: PoweredWork, hardware: HardwareSpec, lag_s: float) -> float | None:
    """The energy that a GPU would have drawn in busy intervals over what was measured; None where there are none."""
    return _Intervals(cell, lag_s).ratio(hardware)


class _Intervals:
    """The busy intervals of a cell's readings; what does not depend on coefficients is computed once."""

    def __init__(self, cell: PoweredWork, lag_s: float) -> None:
        self._cell = cell
        iterations = cell.iterations
        edges_s = cell.readings.t_s - lag_s
        self._edges_s, self._length_s = edges_s, np.diff(edges_s)
        self._measured_j = np.diff(cell.readings.energy_j)
        self._row_s = iterations.end_s - iterations.begin_s
        self._busy_s = self._between(self._row_s)
        inside = (edges_s[:-1] >= iterations.begin_s[0]) & (edges_s[1:] <= iterations.end_s[-1])
        self._used = inside & (self._busy_s > _BUSY_SHARE * self._length_s) & (self._measured_j > 0)

    def residuals(self, hardware: HardwareSpec) -> Floats:
        """In units of the expected error; shape (intervals used,)."""
        off = np.log(self._expected_j(hardware) / self._measured_j[self._used])
        weight = float(np.sqrt(_CELL_WEIGHT / max(len(off), 1)))
        return weight * softened(off / _NOISE_RATIO)

    def ratio(self, hardware: HardwareSpec) -> float | None:
        """Expected over measured energy of all intervals used."""
        if not self._used.any():
            return None
        return float(self._expected_j(hardware).sum() / self._measured_j[self._used].sum())

    def _expected_j(self, hardware: HardwareSpec) -> Floats:
        """Of the intervals used; shape (intervals used,)."""
        n_gpus = self._cell.work.n_gpus
        idle_j = n_gpus * hardware.idle_power_w * (self._length_s - self._busy_s)
        expected_j = idle_j + self._between(n_gpus * row_energy_j(self._cell, self._row_s, hardware))
        used: Floats = expected_j[self._used]
        return used

    def _between(self, amounts: Floats) -> Floats:
        iterations = self._cell.iterations
        line = Timeline(iterations.begin_s, iterations.end_s, amounts[:, None])
        return line.between(self._edges_s)[:, 0]


def row_energy_j(cell: PoweredWork, row_s: Floats, hardware: HardwareSpec) -> Floats:
    """Energy of one GPU in each row of iterations of so long; shape (rows,)."""
    rates = energy_rates(hardware, 1.0)
    sample_s = StepTime(cell.work, hardware).sample_s(1.0)
    free_j = (
        rates.static_w * row_s
        + rates.j_per_byte * cell.bytes_
        + rates.j_per_flop * cell.flops
        + rates.sampling_w * sample_s * cell.samples
    )
    ceiling_j = _SUSTAINED_SHARE * hardware.default_power_limit_w * row_s
    drawn_j: Floats = free_j / (1 + (free_j / ceiling_j) ** _CLIP_EXPONENT) ** (1 / _CLIP_EXPONENT)
    return drawn_j
