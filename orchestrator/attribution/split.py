"""Division of measured energy among runs of iterations, among the sequences of a run, and its sum by request."""

from dataclasses import dataclass

import numpy as np

from orchestrator.attribution.energy_model import EnergyModel, Runs, Timeline, is_idle
from orchestrator.attribution.readings import Readings
from orchestrator.attribution.work import Members, Work
from orchestrator.measure.columns import Flags, Floats, running_sum

_MAX_SCALE = 3.0
"""Largest ratio of measured to expected energy of an interval; the smallest is its inverse, the rest is residual."""
_EDGE_S = 0.5
"""A run that is further outside the readings than this is not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apportioned:
    """Division of the energy between the first and the last reading. Units: J.

    ``above_idle_j`` is the energy of each run above idle power, NaN if it was not measured, shape (runs,). ``total_j``
    is the sum of what the runs used within the readings, ``idle_j`` and ``residual_j``.
    """

    above_idle_j: Floats
    idle_j: float
    residual_j: float
    total_j: float


def shares_of(members: Members, work: Work, model: EnergyModel, runs: Runs, measured: Apportioned) -> Floats:
    """Return the energy of every member of every run, NaN if the run was not measured. Units: J; shape (members,).

    Idle power, the duration of a run and the weights it reads are divided equally among its sequences. Each sequence
    pays for its own arithmetic, context and samples. The sum is the run's energy.
    """
    rates = model.fit.rates
    expected_j = work.total @ rates
    scale = measured.above_idle_j / np.where(expected_j > 0, expected_j, 1.0)
    n_members = np.maximum(np.bincount(members.run, minlength=len(scale)), 1)
    shared_j = (model.idle_w * runs.length_s + scale * (work.shared @ rates)) / n_members
    shares_j: Floats = shared_j[members.run] + scale[members.run] * (work.own @ rates)
    return shares_j


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Energy by kind of work of each of some rows (requests or runs). Units: J; shape (rows,)."""

    prefill_j: Floats
    decode_j: Floats


def by_request(members: Members, shares_j: Floats, n_requests: int) -> Split:
    """Return the energy of each request; NaN if it was in no iteration, or in one that was not measured."""
    of_cell = members.request >= 0
    scheduled = np.bincount(members.request[of_cell], minlength=n_requests) > 0

    def total_j(wanted: Flags) -> Floats:
        used = of_cell & wanted
        return np.where(scheduled, np.bincount(members.request[used], shares_j[used], n_requests), np.nan)

    split = Split(prefill_j=total_j(members.is_prefill), decode_j=total_j(~members.is_prefill))
    measured = ~np.isnan(split.prefill_j + split.decode_j)
    return Split(
        prefill_j=np.where(measured, split.prefill_j, np.nan), decode_j=np.where(measured, split.decode_j, np.nan)
    )


def by_run(members: Members, shares_j: Floats, n_runs: int) -> Split:
    """Return the energy of each run by kind of work."""

    def total_j(wanted: Flags) -> Floats:
        return np.bincount(members.run[wanted], shares_j[wanted], n_runs).astype(np.float64)

    return Split(prefill_j=total_j(members.is_prefill), decode_j=total_j(~members.is_prefill))


def apportioned(model: EnergyModel, runs: Runs, readings: Readings) -> Apportioned:
    """Scale the expected energy above idle to the measured energy, interval by interval."""
    edges_s, measured_j = readings.t_s - model.lag_s, np.diff(readings.energy_j)
    lengths_s = np.diff(edges_s)
    line = Timeline(runs.start_s, runs.end_s, np.stack([model.expected_j, runs.length_s], axis=1))
    expected_j, busy_s = line.between(edges_s).T
    idle = is_idle(busy_s, lengths_s)
    ratio = (measured_j - model.idle_w * lengths_s) / np.where(expected_j > 0, expected_j, 1.0)
    scale = np.where(idle, 1.0, np.clip(ratio, 1 / _MAX_SCALE, _MAX_SCALE))
    above_j = scale * expected_j
    idle_j = np.where(idle, measured_j - above_j - model.idle_w * busy_s, model.idle_w * (lengths_s - busy_s))
    above_runs_j = _scaled(line, edges_s, scale, runs.end_s) - _scaled(line, edges_s, scale, runs.start_s)
    inside = (runs.start_s >= edges_s[0] - _EDGE_S) & (runs.end_s <= edges_s[-1] + _EDGE_S)
    above_runs_j = np.where(inside, above_runs_j, np.nan)
    total_j = float(measured_j.sum())
    attributed_j = float(above_j.sum() + model.idle_w * busy_s.sum())
    return Apportioned(
        above_idle_j=above_runs_j,
        idle_j=float(idle_j.sum()),
        residual_j=total_j - attributed_j - float(idle_j.sum()),
        total_j=total_j,
    )


def _scaled(line: Timeline, edges_s: Floats, scale: Floats, t_s: Floats) -> Floats:
    """Return the scaled expected energy up to each time; beyond the edges the scale of the outermost interval holds."""
    at_edges_j = line.until(edges_s)[:, 0]
    sums_j = running_sum(scale * np.diff(at_edges_j))
    interval = np.clip(np.searchsorted(edges_s, t_s, side="right") - 1, 0, len(scale) - 1)
    return sums_j[interval] + scale[interval] * (line.until(t_s)[:, 0] - at_edges_j[interval])
