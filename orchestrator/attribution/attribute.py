"""Energy of a cell's requests and iterations, from the power sensors and the records of iterations alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import pyarrow as pa

from orchestrator.attribution.energy_model import LAGS_S, Runs, fitted_model
from orchestrator.attribution.readings import Readings, limit_w, readings_of
from orchestrator.attribution.split import Split, apportioned, by_request, by_run, shares_of
from orchestrator.attribution.work import members_of, work_of
from orchestrator.costmodel.work import ModelWork
from orchestrator.measure.columns import Columns, Floats, GpuSamples, by_device
from orchestrator.records.series import by_engine
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec

METHOD = "iterations/1"
"""The method and its version, stored with every result (docs/method.md)."""

INTERVAL_S = 2.0
"""Measured energy is divided among the iterations of intervals of at least this length."""

_REQUIRED = ("requests", "iterations", "scheduled", "power")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Energies of the rows of ``requests`` and ``iterations``, and of the remainder. Units: J.

    ``idle_j`` was used while no iteration ran, ``residual_j`` is attributed to no request. With the energies of all
    requests between the first and the last reading they add up to ``total_j``, the measured energy between the two.
    ``misfit_ratio`` is the mean absolute error of the model of energy, over the mean.
    """

    requests: Split
    iterations: Split
    idle_j: float
    residual_j: float
    total_j: float
    misfit_ratio: float

    @property
    def residual_ratio(self) -> float:
        """Share of the measured energy that is attributed to no request."""
        return self.residual_j / self.total_j if self.total_j > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """Series with the energies filled in, metrics of the attribution itself, and its method."""

    series: dict[str, pa.Table]
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)


def with_attribution(cell: Cell, series: Mapping[str, pa.Table]) -> Attributed:
    """Return the series with attributed energies; unchanged if the engine computes them or they are unknown."""
    attribution = None if cell.engine.simulated else attribute(cell, series)
    if attribution is None:
        return Attributed(series=dict(series))
    return Attributed(
        series={
            **series,
            "requests": _filled(series["requests"], attribution.requests),
            "iterations": _filled(series["iterations"], attribution.iterations),
        },
        metrics={
            "attribution_residual_ratio": attribution.residual_ratio,
            "attribution_misfit_ratio": attribution.misfit_ratio,
        },
        provenance={"attribution": METHOD},
    )


def attribute(cell: Cell, series: Mapping[str, pa.Table], *, interval_s: float = INTERVAL_S) -> Attribution | None:
    """Return the energies of a cell's requests and iterations.

    Args:
        cell: its models and GPUs determine the work of an iteration.
        series: of the cell (`orchestrator.records.series.SCHEMAS`); energies are read from ``power`` only.
        interval_s: least length of the intervals whose energy is divided among their iterations.

    Returns:
        None if energy was not measured, scheduled sequences were not recorded, or the GPUs of an engine are unknown.
    """
    if not set(_REQUIRED) <= series.keys() or not isinstance(cell.hardware, HardwareSpec):
        return None
    gpus = _gpus_of_engines(cell, by_device(Columns(series["power"])))
    if gpus is None:
        return None
    iterations, scheduled = (by_engine(series[name]) for name in ("iterations", "scheduled"))
    parts: list[Attribution] = []
    n_rows = 0
    for name, own in cell.engine_cells.items():
        rows = iterations.get(name, series["iterations"].slice(0, 0))
        members = scheduled.get(name, series["scheduled"].slice(0, 0))
        mine = {"requests": series["requests"], "iterations": rows, "scheduled": members}
        part = _attribute_engine(own, mine, gpus[name], first_row=n_rows, interval_s=interval_s)
        if part is None:
            return None
        parts.append(part)
        n_rows += rows.num_rows
    return _together(parts)


def _gpus_of_engines(cell: Cell, gpus: Sequence[GpuSamples]) -> dict[str, Sequence[GpuSamples]] | None:
    """Return the GPUs of each engine, which are in the order of the engines; None if their number does not match."""
    sizes = {name: own.engine.tensor_parallel_size for name, own in cell.engine_cells.items()}
    if len(sizes) == 1:
        return dict.fromkeys(sizes, gpus)
    if sum(sizes.values()) != len(gpus):
        return None
    ends = accumulate(sizes.values())
    return {name: gpus[end - sizes[name] : end] for name, end in zip(sizes, ends, strict=True)}


def _attribute_engine(
    cell: Cell, series: Mapping[str, pa.Table], gpus: Sequence[GpuSamples], *, first_row: int, interval_s: float
) -> Attribution | None:
    """Return the energies of one engine; None if its energy was not measured.

    Args:
        cell: as the engine sees it.
        series: ``iterations`` and ``scheduled`` of this engine, ``requests`` of all.
        gpus: of the engine.
        first_row: of its iterations among those of all engines.
        interval_s: as for `attribute`.
    """
    readings = _readings_of_cell(gpus)
    if readings is None:
        return None
    iterations, request_ids = Columns(series["iterations"]), series["requests"].column("request_id")
    if len(iterations) == 0:
        return _idle(readings, len(request_ids))
    runs = Runs(start_s=iterations.floats("start_s"), end_s=iterations.floats("end_s"))
    n_iterations = iterations.floats("n_iterations")
    members = members_of(series["scheduled"], request_ids, n_iterations.astype(np.int64), first_row)
    work = work_of(ModelWork(cell.model, cell.engine.tensor_parallel_size), members, n_iterations, runs.length_s)
    model = fitted_model(work, runs, readings, cell, limit_w(gpus))
    measured = apportioned(model, runs, readings.every(interval_s))
    shares_j = shares_of(members, work, model, runs, measured)
    unknown_j = float(np.nansum(shares_j[members.request < 0]))
    return Attribution(
        requests=by_request(members, shares_j, len(request_ids)),
        iterations=by_run(members, shares_j, len(iterations)),
        idle_j=measured.idle_j,
        residual_j=measured.residual_j + unknown_j,
        total_j=measured.total_j,
        misfit_ratio=model.fit.misfit_ratio,
    )


def _readings_of_cell(gpus: Sequence[GpuSamples]) -> Readings | None:
    """Return the readings without those before the largest lag: they may show the warm-up, not the cell's work."""
    readings = readings_of(gpus)
    return None if readings is None else readings.since(LAGS_S[-1])


def _idle(readings: Readings, n_requests: int) -> Attribution:
    """Return the attribution of an engine without iterations."""
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


def _together(parts: Sequence[Attribution]) -> Attribution:
    """Return the attribution of all engines."""
    total_j = sum(part.total_j for part in parts)
    weights = [part.total_j for part in parts]
    return Attribution(
        requests=Split(
            prefill_j=_first_known([part.requests.prefill_j for part in parts]),
            decode_j=_first_known([part.requests.decode_j for part in parts]),
        ),
        iterations=Split(
            prefill_j=np.concatenate([part.iterations.prefill_j for part in parts]),
            decode_j=np.concatenate([part.iterations.decode_j for part in parts]),
        ),
        idle_j=sum(part.idle_j for part in parts),
        residual_j=sum(part.residual_j for part in parts),
        total_j=total_j,
        misfit_ratio=float(np.average([part.misfit_ratio for part in parts], weights=weights)) if total_j > 0 else 0.0,
    )


def _first_known(columns: Sequence[Floats]) -> Floats:
    """Return for each request the value of the one engine that ran it; NaN if none has a value."""
    values = columns[0]
    for column in columns[1:]:
        values = np.where(np.isnan(values), column, values)
    return values


def _filled(table: pa.Table, split: Split) -> pa.Table:
    columns = {"prefill_energy_j": split.prefill_j, "decode_energy_j": split.decode_j}
    columns["energy_j"] = split.prefill_j + split.decode_j
    for name, values in columns.items():
        if name in table.column_names:
            index = table.column_names.index(name)
            array = pa.array(values, pa.float64(), from_pandas=True)
            table = table.set_column(index, table.schema.field(index), array)
    return table
