"""The expected energy of iterations above idle: rates times work, within the power limit."""

from dataclasses import dataclass

import numpy as np

from orchestrator.attribution.meter import Readings
from orchestrator.attribution.rates import Fit, assumed_rates, fitted_rates
from orchestrator.attribution.timeline import Timeline
from orchestrator.attribution.work import Work
from orchestrator.hardware_spec import HardwareSpec
from orchestrator.measure.columns import Floats

_LAGS_S = tuple(np.round(np.arange(0.0, 0.16, 0.01), 3).tolist())
_ROUNDS = 4
_IDLE_SHARE = 0.02
"""An interval busy for less of its time is taken for idle."""


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
    """What the iterations should have drawn above ``idle_w``, the idle power of all GPUs of the engine.

    ``lag_s`` is how late the sensor tells; ``shares`` what the power limit leaves of each run, shape (runs,).
    """

    idle_w: float
    lag_s: float
    fit: Fit
    shares: Floats
    expected_j: Floats


def fitted_model(work: Work, runs: Runs, readings: Readings, hardware: HardwareSpec, n_gpus: int, vocab: int) -> EnergyModel:
    """The model that explains the readings best, at the lag of the sensor that does so, too."""
    assumed = assumed_rates(hardware, vocab)
    idle_w = _idle_w(runs, readings, hardware.idle_power_w * n_gpus)
    limit_j = (hardware.effective_power_limit_w * n_gpus - idle_w) * runs.length_s

    def at(lag_s: float, rates: Floats, n_rounds: int) -> EnergyModel:
        edges_s, measured_j = readings.t_s - lag_s, np.diff(readings.energy_j)
        above_j = measured_j - idle_w * np.diff(edges_s)
        for _ in range(n_rounds):
            shares = _limited(work.total @ rates, limit_j)
            fit = fitted_rates(
                Timeline(runs.start_s, runs.end_s, shares[:, None] * work.total).between(edges_s), above_j, assumed
            )
            rates = fit.rates
        shares = _limited(work.total @ rates, limit_j)
        return EnergyModel(
            idle_w=idle_w, lag_s=lag_s, fit=fit, shares=shares, expected_j=shares * (work.total @ rates)
        )

    first = at(_LAGS_S[len(_LAGS_S) // 3], assumed, _ROUNDS)
    best = min((at(lag_s, first.fit.rates, 1) for lag_s in _LAGS_S), key=lambda model: model.fit.misfit_ratio)
    return at(best.lag_s, best.fit.rates, _ROUNDS)


def _limited(expected_j: Floats, limit_j: Floats) -> Floats:
    """What a power limit leaves of the energy above idle; shape (runs,)."""
    return np.minimum(1.0, limit_j / np.maximum(expected_j, 1e-12))


def _idle_w(runs: Runs, readings: Readings, assumed_w: float) -> float:
    """Mean power of the intervals without iterations; the data sheet's where there are none."""
    lengths_s = np.diff(readings.t_s)
    busy_s = Timeline(runs.start_s, runs.end_s, runs.length_s[:, None]).between(readings.t_s)[:, 0]
    idle = busy_s < _IDLE_SHARE * lengths_s
    idle[1:] &= idle[:-1].copy()  # an interval right behind a busy one holds what the sensor tells late
    if lengths_s[idle].sum() < 0.5:
        return assumed_w
    return float(np.diff(readings.energy_j)[idle].sum() / lengths_s[idle].sum())
