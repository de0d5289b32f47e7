"""Attribution on one engine: its iterations, its GPUs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from orchestrator.attribution.apportion import apportioned
from orchestrator.attribution.attribution import Attribution
from orchestrator.attribution.members import members_of
from orchestrator.attribution.meter import Readings, limit_w, readings_of
from orchestrator.attribution.model import LAGS_S, Runs, fitted_model
from orchestrator.attribution.split import Split, by_request, by_run, shares_of
from orchestrator.attribution.work import work_of
from orchestrator.costmodel.work import ModelWork
from orchestrator.measure.columns import Columns
from orchestrator.spec.cell import Cell


def attributed_part(
    cell: Cell, series: Mapping[str, pa.Table], devices: Sequence[str], *, first_row: int, interval_s: float
) -> Attribution | None:
    """Who used the energy of one engine's GPUs.

    Args:
        cell: as the engine sees it.
        series: ``iterations`` and ``scheduled`` of this engine, ``requests`` and ``power`` of all.
        devices: the engine's.
        first_row: of its iterations among those of all engines.
        interval_s: readings are taken together until they are so far apart.

    Returns:
        None where its energy was not measured.
    """
    sampled = readings_of(series["power"], devices)
    # What a sensor tells later than that is of this cell, not of the work that warmed the GPUs up for it.
    readings = sampled.since(LAGS_S[-1]) if sampled is not None else None
    if readings is None:
        return None
    iterations, n_requests = Columns(series["iterations"]), series["requests"].num_rows
    if len(iterations) == 0:
        return _idle(readings, n_requests)
    runs = Runs(start_s=iterations.floats("start_s"), end_s=iterations.floats("end_s"))
    n_iterations = iterations.floats("n_iterations")
    members = members_of(
        series["scheduled"], series["requests"].column("request_id"), n_iterations.astype(np.int64), first_row
    )
    work = work_of(ModelWork(cell.model, cell.engine.tensor_parallel_size), members, n_iterations, runs.length_s)
    model = fitted_model(work, runs, readings, cell, limit_w(series["power"], devices))
    measured = apportioned(model, runs, readings.every(interval_s))
    shares_j = shares_of(members, work, model, runs, measured)
    strangers_j = float(np.nansum(shares_j[members.request < 0]))
    return Attribution(
        requests=by_request(members, shares_j, n_requests),
        iterations=by_run(members, shares_j, len(iterations)),
        idle_j=measured.idle_j,
        residual_j=measured.residual_j + strangers_j,
        total_j=measured.total_j,
        misfit_ratio=model.fit.misfit_ratio,
    )


def _idle(readings: Readings, n_requests: int) -> Attribution:
    """Of an engine that nothing was asked of."""
    total_j = float(readings.energy_j[-1])
    unknown, none = np.full(n_requests, np.nan), np.zeros(0)
    return Attribution(
        requests=Split(prefill_j=unknown, decode_j=unknown),
        iterations=Split(prefill_j=none, decode_j=none),
        idle_j=total_j,
        residual_j=0.0,
        total_j=total_j,
        misfit_ratio=0.0,
    )
