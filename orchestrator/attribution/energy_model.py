"""Model of the energy of iterations above idle: rates times work, within the power limit, fitted to readings."""

from dataclasses import dataclass

import numpy as np

from orchestrator.attribution.readings import Readings
from orchestrator.attribution.work import Work
from orchestrator.measure.columns import Flags, Floats
from orchestrator.measure.map_fit import fit_logs, soft_l1
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec

LAGS_S = tuple(np.round(np.arange(0.0, 0.16, 0.01), 3).tolist())
"""Candidate lags of the power sensor: up to 1.5 update periods of a sensor that updates ten times a second."""

_ROUNDS = 4
_IDLE_SHARE = 0.02
"""An interval is idle if iterations fill less of it than this."""
_MIN_IDLE_S = 0.5
"""Shortest idle time from which the idle power is measured."""
_SOFTNESS = 6
"""Exponent of the smooth minimum of power and its limit, chosen by `benchmarks.attribution_error`."""

_ACTIVE_SHARE = 0.1
_MEMORY_SHARE = 0.6
_COMPUTE_SHARE = 1.2
_SAMPLING_SHARE = 0.6
"""Shares of the default power limit of an H100: busy without work, memory and arithmetic at their peaks, sampling."""
_SAMPLE_S = 4e-5
"""Time to sample one token of a vocabulary of 128,000."""

_PRIOR_DEVIATION = np.log(2.0)
_LOG_BOUNDS = (-5.0, 5.0)
_NOISE_RATIO = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Start and end of runs of iterations, in order. Units: s; shape (runs,)."""

    start_s: Floats
    end_s: Floats

    @property
    def length_s(self) -> Floats:
        """Duration of each run."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Fitted rates; ``misfit_ratio`` is the mean absolute error of the intervals' energies over their mean."""

    rates: Floats
    misfit_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyModel:
    """Expected energy of the runs above ``idle_w``, the idle power of all GPUs of the engine.

    ``lag_s`` is the lag of the sensor; ``expected_j`` is each run's energy above idle, shape (runs,).
    """

    idle_w: float
    lag_s: float
    fit: Fit
    expected_j: Floats


def fitted_model(work: Work, runs: Runs, readings: Readings, cell: Cell, limit_w: float | None = None) -> EnergyModel:
    """Fit the rates, and the lag of the sensor, to its readings.

    ``limit_w`` is the power limit of all GPUs together; that of the cell if None.
    """
    fitting = _Fitting(work, runs, readings, cell, limit_w)
    first = fitting.at(LAGS_S[len(LAGS_S) // 3], fitting.assumed, _ROUNDS)
    candidates = [fitting.at(lag_s, first.fit.rates, 1) for lag_s in LAGS_S]
    best = min(candidates, key=lambda model: model.fit.misfit_ratio)
    return fitting.at(best.lag_s, best.fit.rates, _ROUNDS)


class _Fitting:
    """Inputs of a fit that are the same for all lags."""

    def __init__(self, work: Work, runs: Runs, readings: Readings, cell: Cell, limit_w: float | None) -> None:
        hardware, n_gpus = cell.gpu, cell.engine.tensor_parallel_size
        self.assumed = assumed_rates(hardware, cell.model.vocab_size)
        self._work, self._runs, self._readings = work, runs, readings
        self._idle_w = _idle_w(runs, readings, hardware.idle_power_w * n_gpus)
        limit_w = limit_w if limit_w is not None else hardware.effective_power_limit_w * n_gpus
        self._limit_j = (limit_w - self._idle_w) * runs.length_s

    def at(self, lag_s: float, rates: Floats, n_rounds: int) -> EnergyModel:
        """Fit the rates for one lag, starting from ``rates``; in rounds, as the effect of the limit depends on them."""
        edges_s = self._readings.t_s - lag_s
        above_j = np.diff(self._readings.energy_j) - self._idle_w * np.diff(edges_s)
        for _ in range(n_rounds):
            drawn = self._limited_share(rates)[:, None] * self._work.total
            in_intervals = Timeline(self._runs.start_s, self._runs.end_s, drawn).between(edges_s)
            fit = fitted_rates(in_intervals, above_j, self.assumed)
            rates = fit.rates
        expected_j = self._limited_share(rates) * (self._work.total @ rates)
        return EnergyModel(idle_w=self._idle_w, lag_s=lag_s, fit=fit, expected_j=expected_j)

    def _limited_share(self, rates: Floats) -> Floats:
        """Return the share of each run's energy above idle that the power limit allows; shape (runs,)."""
        excess: Floats = (self._work.total @ rates) / np.maximum(self._limit_j, 1e-12)
        return (1 + excess**_SOFTNESS) ** (-1 / _SOFTNESS)


def is_idle(busy_s: Floats, length_s: Floats) -> Flags:
    """Return which intervals hold nearly no iterations; shape (intervals,)."""
    idle: Flags = busy_s < _IDLE_SHARE * length_s
    return idle


def _idle_w(runs: Runs, readings: Readings, assumed_w: float) -> float:
    """Return the median power of the idle intervals; ``assumed_w`` if they are too short in sum."""
    lengths_s = np.diff(readings.t_s)
    busy_s = Timeline(runs.start_s, runs.end_s, runs.length_s[:, None]).between(readings.t_s)[:, 0]
    idle = is_idle(busy_s, lengths_s)
    idle[1:] &= idle[:-1].copy()  # the sensor lags, so the first idle interval still shows work
    if lengths_s[idle].sum() < _MIN_IDLE_S:
        return assumed_w
    return float(np.median(np.diff(readings.energy_j)[idle] / lengths_s[idle]))


def assumed_rates(hardware: HardwareSpec, vocab_size: int) -> Floats:
    """Return prior rates above idle of one GPU, by `orchestrator.attribution.work.TERMS`; shape (4,).

    Units: W, J/byte, J/FLOP, J/sample. They are shares of the default power limit that hold within a factor of two on
    GPUs of the last three generations.
    """
    limit_w = hardware.default_power_limit_w
    return np.array(
        [
            _ACTIVE_SHARE * limit_w,
            _MEMORY_SHARE * limit_w / (hardware.memory_bandwidth_gb_s * 1e9),
            _COMPUTE_SHARE * limit_w / (hardware.peak_tflops * 1e12),
            _SAMPLING_SHARE * limit_w * _SAMPLE_S * vocab_size / 128_000,
        ]
    )


def fitted_rates(work: Floats, energy_j: Floats, assumed: Floats) -> Fit:
    """Fit the rates to the energy above idle of intervals; a rate that these do not determine stays at its prior.

    The fit maximises the posterior: each rate is log-normal around the prior one by a factor of two, and the error of
    an interval's energy is a tenth of the mean energy; outliers weigh less (soft L1).

    Args:
        work: of the intervals, all GPUs together; shape (intervals, 4).
        energy_j: above idle, of the same; shape (intervals,).
        assumed: prior rates as of `assumed_rates`; shape (4,).
    """
    mean_j = max(float(np.mean(energy_j)), 1e-9) if len(energy_j) else 1.0
    scale_j = _NOISE_RATIO * mean_j
    expected = work * assumed / scale_j
    measured = energy_j / scale_j

    def residuals(logs: Floats) -> Floats:
        return soft_l1(expected @ np.exp(logs) - measured)

    fit = fit_logs(residuals, np.full(len(assumed), _PRIOR_DEVIATION), _LOG_BOUNDS)
    rates = assumed * np.exp(fit.logs)
    misfit = float(np.mean(np.abs(work @ rates - energy_j)) / mean_j) if len(energy_j) else 0.0
    return Fit(rates=rates, misfit_ratio=misfit)


class Timeline:
    """Amounts that are spread evenly over the time of each run; nothing happens between runs."""

    def __init__(self, start_s: Floats, end_s: Floats, amounts: Floats) -> None:
        """Take runs in order that do not overlap; ``amounts`` has a row for each."""
        self._knots_s = np.stack([start_s, end_s], axis=1).ravel()
        total = np.concatenate([np.zeros((1, amounts.shape[1])), np.cumsum(amounts, axis=0)])
        self._totals = np.repeat(total, 2, axis=0)[1:-1]

    def until(self, t_s: Floats) -> Floats:
        """Return the amounts up to each time; shape (times, amounts)."""
        columns = [np.interp(t_s, self._knots_s, column) for column in self._totals.T]
        return np.stack(columns, axis=1)

    def between(self, edges_s: Floats) -> Floats:
        """Return the amounts between neighbouring edges; shape (edges - 1, amounts)."""
        return np.diff(self.until(edges_s), axis=0)
