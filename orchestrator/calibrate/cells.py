"""Cells of sweeps on disk that a preset can be fitted to, and why the others are excluded."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from orchestrator.attribution.readings import readings_of
from orchestrator.calibrate.iterations import Iterations, read_iterations
from orchestrator.calibrate.power import PoweredWork, powered_work
from orchestrator.calibrate.times import TimedWork, group_iterations
from orchestrator.costmodel.work import ModelWork
from orchestrator.errors import UserError
from orchestrator.measure.columns import Columns, by_device
from orchestrator.records.record import CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.spec.names import dotted
from orchestrator.store.sweep import SweepStore

_REQUIRED = ("iterations", "requests")
_OPTIONAL = ("scheduled", "power")
_MIN_ITERATIONS = 20
_MAX_REASONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCell:
    """A cell to fit. Its repeats share ``configuration``; ``powered`` is None if its energy was not measured."""

    sweep_id: str
    cell_id: str
    label: str
    started_unix_s: float
    simulated: bool
    cell: Cell
    metrics: dict[str, float]
    provenance: dict[str, Any]
    timed: TimedWork
    powered: PoweredWork | None

    @property
    def configuration(self) -> str:
        """The cell without seed and repeat, as one key."""
        return self.cell.configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedCell:
    """A cell that is not fitted, and the reason."""

    sweep_id: str
    cell_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which cells to fit: those on the GPU with this name; invalid and simulated ones only if included."""

    gpu: str
    include_invalid: bool = False
    include_simulated: bool = False


def read_cells(stores: Sequence[SweepStore], selection: Selection) -> tuple[list[MeasuredCell], list[ExcludedCell]]:
    """Read the cells of all sweeps.

    Raises:
        UserError: a series is damaged, or no cell can be fitted.
    """
    cells: list[MeasuredCell] = []
    excluded: list[ExcludedCell] = []
    for store in stores:
        for one in _read(store, selection):
            if isinstance(one, MeasuredCell):
                cells.append(one)
            else:
                excluded.append(one)
    if not cells:
        names = ", ".join(store.sweep_id for store in stores)
        reasons = "; ".join(reason_counts(excluded)[:_MAX_REASONS]) or "there are no records"
        raise UserError(f"no cell of {names} can be fitted: {reasons}")
    return cells, excluded


def reason_counts(excluded: Iterable[ExcludedCell]) -> list[str]:
    """Return each reason with the number of its cells, the most frequent first."""
    counts = Counter(one.reason for one in excluded)
    return [f"{n} {reason}" for reason, n in counts.most_common()]


def _read(store: SweepStore, selection: Selection) -> Iterator[MeasuredCell | ExcludedCell]:
    for record in store.records():
        cell = _cell_or_reason(record, selection)
        series: dict[str, pa.Table] = {}
        if isinstance(cell, Cell):
            present = [name for name in (*_REQUIRED, *_OPTIONAL) if name in record.series]
            series = {name: store.read_series(record, name) for name in present}
            n_iterations = int(series["iterations"].num_rows)
            if n_iterations < _MIN_ITERATIONS:
                cell = f"with fewer than {_MIN_ITERATIONS} iterations recorded"
        if isinstance(cell, str):
            yield ExcludedCell(sweep_id=store.sweep_id, cell_id=record.cell_id, reason=cell)
        else:
            yield _measured(store, record, cell, series)


def _measured(store: SweepStore, record: CellRecord, cell: Cell, series: dict[str, pa.Table]) -> MeasuredCell:
    iterations = read_iterations(series)
    work = ModelWork(cell.model, cell.engine.tensor_parallel_size)
    return MeasuredCell(
        sweep_id=store.sweep_id,
        cell_id=record.cell_id,
        label=_label(cell, store.manifest.swept),
        started_unix_s=record.attempts[0].started_unix_s if record.attempts else store.manifest.created_unix_s,
        simulated=record.simulated,
        cell=cell,
        metrics=record.metrics,
        provenance=record.provenance,
        timed=group_iterations(iterations, work),
        powered=_powered(series, iterations, work),
    )


def _cell_or_reason(record: CellRecord, selection: Selection) -> Cell | str:
    """Return the cell, or the reason to exclude it."""
    reason = _record_reason(record, selection)
    if reason:
        return reason
    try:
        cell = Cell.model_validate(record.cell)
    except (ValidationError, UserError) as error:
        return f"unreadable: {' '.join(str(error).split())[:120]}"
    return _cell_reason(cell, selection) or cell


def _record_reason(record: CellRecord, selection: Selection) -> str:
    """Return the reason to exclude the record; empty if there is none."""
    if record.status == "failed":
        return "failed"
    if record.status == "invalid" and not selection.include_invalid:
        codes = ", ".join(reason.code for reason in record.reasons)
        return f"invalid: {codes} (include=invalid fits them)"
    if record.simulated and not selection.include_simulated:
        return "simulated, not measured (include=simulated fits them)"
    missing = [name for name in _REQUIRED if name not in record.series]
    return f"without the series {', '.join(missing)}" if missing else ""


def _cell_reason(cell: Cell, selection: Selection) -> str:
    """Return the reason to exclude the cell; empty if there is none."""
    hardware = cell.hardware
    if not isinstance(hardware, HardwareSpec) or hardware.name != selection.gpu:
        return f"on {hardware.name}, not on {selection.gpu}"
    if hardware.power_limit_w is not None or hardware.sm_clock_mhz is not None:
        return "with a power limit or clock set"
    return "on several engines" if len(cell.engine_cells) > 1 else ""


def _powered(series: dict[str, pa.Table], iterations: Iterations, work: ModelWork) -> PoweredWork | None:
    if "power" not in series:
        return None
    gpus = by_device(Columns(series["power"]))
    readings = readings_of(gpus) if len(gpus) == work.n_gpus else None
    return None if readings is None else powered_work(iterations, work, readings)


def _label(cell: Cell, swept: Sequence[str]) -> str:
    """Return the workflow, the batch and the swept keys of a cell."""
    plain = dotted(cell.model_dump(mode="json"))
    keys = dict.fromkeys(("workflow.kind", "engine.max_num_seqs", *swept))
    return ", ".join(
        str(plain[key]) if key == "workflow.kind" else f"{key.rpartition('.')[2]}={plain[key]}"
        for key in keys
        if key in plain
    )
