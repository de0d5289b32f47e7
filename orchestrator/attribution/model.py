"""The expected energy of iterations above idle: rates times work, within the power limit."""

from dataclasses import dataclass

import numpy as np

from orchestrator.attribution.members import Bools
from orchestrator.attribution.meter import Readings
from orchestrator.attribution.rates import Fit, assumed_rates, fitted_rates
from orchestrator.attribution.timeline import Timeline
from orchestrator.attribution.work import Work
from orchestrator.measure.columns import Floats
from orchestrator.spec.cell import Cell

LAGS_S = tuple(np.round(np.arange(0.0, 0.16, 0.01), 3).tolist())
"""How late a sensor may tell: half of them more than a reading of one that is renewed ten times a second."""

_ROUNDS = 4
_IDLE_SHARE = 0.02
_LEAST_IDLE_S = 0.5
_SOFTNESS = 6
"""How sharply power bends below its limit: exponent of a smooth minimum, chosen by `benchmarks.attribution_error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """When runs of iterations began and ended, in order. Units: s; shape (runs,)."""

    start_s: Floats
    end_s: Floats

    @property
    def length_s(self) -> Floats:
        """How long each took."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyModel:
    """What the runs should have drawn above ``idle_w``, the idle power of all GPUs of the engine.

    ``lag_s`` is how late the sensor tells; ``expected_j`` is each run's energy above idle, shape (runs,).
    """

    idle_w: float
    lag_s: float
    fit: Fit
    expected_j: Floats


def fitted_model(work: Work, runs: Runs, readings: Readings, cell: Cell, limit_w: float | None = None) -> EnergyModel:
    """The rates, and the lag of the sensor, that explain its readings best.

    ``limit_w`` is the power limit of all GPUs together, the cell's own where it is not known.
    """
    fitting = _Fitting(work, runs, readings, cell, limit_w)
    first = fitting.at(LAGS_S[len(LAGS_S) // 3], fitting.assumed, _ROUNDS)
    tried = [fitting.at(lag_s, first.fit.rates, 1) for lag_s in LAGS_S]
    best = min(tried, key=lambda model: model.fit.misfit_ratio)
    return fitting.at(best.lag_s, best.fit.rates, _ROUNDS)


class _Fitting:
    """What stays the same from one try to the next."""

    def __init__(self, work: Work, runs: Runs, readings: Readings, cell: Cell, limit_w: float | None) -> None:
        hardware, n_gpus = cell.gpu, cell.engine.tensor_parallel_size
        self.assumed = assumed_rates(hardware, cell.model.vocab_size)
        self._work, self._runs, self._readings = work, runs, readings
        self._idle_w = _idle_w(runs, readings, hardware.idle_power_w * n_gpus)
        limit_w = limit_w if limit_w is not None else hardware.effective_power_limit_w * n_gpus
        self._limit_j = (limit_w - self._idle_w) * runs.length_s

    def at(self, lag_s: float, rates: Floats, n_rounds: int) -> EnergyModel:
        """Fit from ``rates`` on: what the limit leaves of a run depends on them, so a few rounds are needed."""
        edges_s = self._readings.t_s - lag_s
        above_j = np.diff(self._readings.energy_j) - self._idle_w * np.diff(edges_s)
        for _ in range(n_rounds):
            drawn = self._left(rates)[:, None] * self._work.total
            in_intervals = Timeline(self._runs.start_s, self._runs.end_s, drawn).between(edges_s)
            fit = fitted_rates(in_intervals, above_j, self.assumed)
            rates = fit.rates
        expected_j = self._left(rates) * (self._work.total @ rates)
        return EnergyModel(idle_w=self._idle_w, lag_s=lag_s, fit=fit, expected_j=expected_j)

    def _left(self, rates: Floats) -> Floats:
        """Share of each run's energy above idle that the power limit leaves; shape (runs,)."""
        excess: Floats = (self._work.total @ rates) / np.maximum(self._limit_j, 1e-12)
        return (1 + excess**_SOFTNESS) ** (-1 / _SOFTNESS)


def is_idle(busy_s: Floats, length_s: Floats) -> Bools:
    """Which intervals hold next to no iterations; shape (intervals,)."""
    idle: Bools = busy_s < _IDLE_SHARE * length_s
    return idle


def _idle_w(runs: Runs, readings: Readings, assumed_w: float) -> float:
    """Median power of the intervals without iterations; the data sheet's where there are hardly any."""
    lengths_s = np.diff(readings.t_s)
    busy_s = Timeline(runs.start_s, runs.end_s, runs.length_s[:, None]).between(readings.t_s)[:, 0]
    idle = is_idle(busy_s, lengths_s)
    idle[1:] &= idle[:-1].copy()  # what a sensor tells late is of the interval before
    if lengths_s[idle].sum() < _LEAST_IDLE_S:
        return assumed_w
    return float(np.median(np.diff(readings.energy_j)[idle] / lengths_s[idle]))
