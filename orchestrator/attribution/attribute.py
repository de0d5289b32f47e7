"""The energies of a cell's requests and iterations, from the sensors and the records of iterations alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import pyarrow as pa

from orchestrator.attribution.energy_model import LAGS_S, Runs, fitted_model
from orchestrator.attribution.readings import Readings, devices_of, limit_w, readings_of
from orchestrator.attribution.split import Split, apportioned, by_request, by_run, shares_of
from orchestrator.attribution.work import members_of, work_of
from orchestrator.costmodel.work import ModelWork
from orchestrator.measure.columns import Columns, Floats
from orchestrator.records.series import by_engine
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec

METHOD = "iterations/1"
"""The method and its version, kept with every result of it (docs/method.md)."""

INTERVAL_S = 2.0
"""Measured energy is laid on the iterations of an interval of this length at least."""

_NEEDED = ("requests", "iterations", "scheduled", "power")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Energies of the rows of ``requests`` and ``iterations``, and where the rest went. Units: J.

    ``idle_j`` flowed while no iteration ran, ``residual_j`` is on nobody. With what all requests have within the
    readings they are ``total_j``, which the counters told from the first reading to the last.
    """

    requests: Split
    iterations: Split
    idle_j: float
    residual_j: float
    total_j: float
    misfit_ratio: float

    @property
    def residual_ratio(self) -> float:
        """Share of the measured energy that is on nobody."""
        return self.residual_j / self.total_j if self.total_j > 0 else 0.0


def attribute(cell: Cell, series: Mapping[str, pa.Table], *, interval_s: float = INTERVAL_S) -> Attribution | None:
    """Who used the energy of a cell.

    Args:
        cell: whose models and GPUs tell how much work an iteration was.
        series: of the cell, as far as it has them (`orchestrator.records.series.SCHEMAS`); only the energies
            of ``power`` are used.
        interval_s: readings of the sensors are taken together until they are so far apart.

    Returns:
        None where energy was not measured, it is not known who was scheduled, or which GPUs were whose.
    """
    if not set(_NEEDED) <= series.keys() or not isinstance(cell.hardware, HardwareSpec):
        return None
    devices = _devices_of_engines(cell, devices_of(series["power"]))
    if devices is None:
        return None
    iterations, scheduled = (by_engine(series[name]) for name in ("iterations", "scheduled"))
    parts: list[Attribution] = []
    n_rows = 0
    for name, own in cell.engine_cells.items():
        rows = iterations.get(name, series["iterations"].slice(0, 0))
        members = scheduled.get(name, series["scheduled"].slice(0, 0))
        mine = {**series, "iterations": rows, "scheduled": members}
        part = attributed_part(own, mine, devices[name], first_row=n_rows, interval_s=interval_s)
        if part is None:
            return None
        parts.append(part)
        n_rows += rows.num_rows
    return _together(parts)


def _devices_of_engines(cell: Cell, devices: Sequence[str]) -> dict[str, Sequence[str]] | None:
    """The engines' GPUs, which follow each other as the engines do; None where their number does not fit."""
    sizes = {name: own.engine.tensor_parallel_size for name, own in cell.engine_cells.items()}
    if len(sizes) == 1:
        return dict.fromkeys(sizes, devices)
    if sum(sizes.values()) != len(devices):
        return None
    ends = accumulate(sizes.values())
    return {name: devices[end - sizes[name] : end] for name, end in zip(sizes, ends, strict=True)}


def _together(parts: Sequence[Attribution]) -> Attribution:
    total_j = sum(part.total_j for part in parts)
    weights = [part.total_j for part in parts]
    return Attribution(
        requests=Split(
            prefill_j=_either([part.requests.prefill_j for part in parts]),
            decode_j=_either([part.requests.decode_j for part in parts]),
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


def _either(columns: Sequence[Floats]) -> Floats:
    """What one of the engines has; a request is answered by one."""
    found = columns[0]
    for column in columns[1:]:
        found = np.where(np.isnan(found), column, found)
    return found


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """The series with the energies filled in, the metrics of the attribution itself, and its method."""

    series: dict[str, pa.Table]
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)


def with_attribution(cell: Cell, series: Mapping[str, pa.Table]) -> Attributed:
    """The series as they are where the engine knows the energies itself, or they cannot be told from what there is."""
    found = None if cell.engine.simulated else attribute(cell, series)
    if found is None:
        return Attributed(series=dict(series))
    return Attributed(
        series={
            **series,
            "requests": _filled(series["requests"], found.requests),
            "iterations": _filled(series["iterations"], found.iterations),
        },
        metrics={
            "attribution_residual_ratio": found.residual_ratio,
            "attribution_misfit_ratio": found.misfit_ratio,
        },
        provenance={"attribution": METHOD},
    )


def _filled(table: pa.Table, split: Split) -> pa.Table:
    columns = {"prefill_energy_j": split.prefill_j, "decode_energy_j": split.decode_j}
    columns["energy_j"] = split.prefill_j + split.decode_j
    for name, values in columns.items():
        if name in table.column_names:
            table = _with(table, name, values)
    return table


def _with(table: pa.Table, name: str, values: Floats) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(at), pa.array(values, pa.float64(), from_pandas=True))
