"""The energy of an iteration among the sequences in it, and the energy of a request as the sum of its shares."""

from dataclasses import dataclass

import numpy as np

from orchestrator.attribution.apportion import Apportioned
from orchestrator.attribution.members import Bools, Members
from orchestrator.attribution.model import EnergyModel, Runs
from orchestrator.attribution.work import Work
from orchestrator.measure.columns import Floats


def shares_of(members: Members, work: Work, model: EnergyModel, runs: Runs, measured: Apportioned) -> Floats:
    """Energy of every member of every run, NaN where the run was not measured. Units: J; shape (members,).

    Idle power, the time a run takes and the weights it reads are divided equally among its sequences; what a sequence
    computes, reads of its own context and samples is its own. Their sum is the run's energy.
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
    """Energy of each request; NaN where it was in no iteration, or in one that was not measured."""
    of_cell = members.request >= 0
    scheduled = np.bincount(members.request[of_cell], minlength=n_requests) > 0

    def total_j(wanted: Bools) -> Floats:
        used = of_cell & wanted
        found = np.bincount(members.request[used], shares_j[used], n_requests)
        return np.where(scheduled, found, np.nan)

    split = Split(prefill_j=total_j(members.is_prefill), decode_j=total_j(~members.is_prefill))
    measured = ~np.isnan(split.prefill_j + split.decode_j)
    return Split(
        prefill_j=np.where(measured, split.prefill_j, np.nan), decode_j=np.where(measured, split.decode_j, np.nan)
    )


def by_run(members: Members, shares_j: Floats, n_runs: int) -> Split:
    """Energy of each run by what it was used for."""

    def total_j(wanted: Bools) -> Floats:
        return np.bincount(members.run[wanted], shares_j[wanted], n_runs).astype(np.float64)

    return Split(prefill_j=total_j(members.is_prefill), decode_j=total_j(~members.is_prefill))
