"""The energies of a cell's requests and iterations, from the sensors and the records of iterations alone."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa

from orchestrator.attribution.attribution import Attribution
from orchestrator.attribution.engine_part import attributed_part
from orchestrator.attribution.meter import devices_of
from orchestrator.attribution.split import Split
from orchestrator.measure.columns import Floats
from orchestrator.records.series import by_engine
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec

METHOD = "iterations/1"
"""The method and its version, kept with every result of it (docs/method.md)."""

INTERVAL_S = 2.0
"""Measured energy is laid on the iterations of an interval of this length at least."""

_NEEDED = ("requests", "iterations", "scheduled", "power")


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
