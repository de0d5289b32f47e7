"""Cells of sweeps on disk as what a fit needs of them, and why the others are left out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from benchmarks.h200.fit_iterations import Iterations, iterations_of
from benchmarks.h200.fit_power import PoweredWork, powered_work
from benchmarks.h200.fit_time import TimedWork, timed_work
from orchestrator.attribution.readings import devices_of, readings_of
from orchestrator.costmodel.work import ModelWork
from orchestrator.errors import UserError
from orchestrator.records.record import CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.spec.names import dotted
from orchestrator.store.sweep import SweepStore

_NEEDED = ("iterations", "requests")
_LEAST_ITERATIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A cell to fit on. ``powered`` is None where its energy was not measured; ``group`` is shared by its repeats."""

    sweep_id: str
    cell_id: str
    label: str
    group: str
    started_unix_s: float
    cell: Cell
    metrics: dict[str, float]
    provenance: dict[str, Any]
    timed: TimedWork
    powered: PoweredWork | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A cell that is not fitted on, and why."""

    sweep_id: str
    cell_id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which cells count: those on this GPU; invalid or simulated ones only where asked for."""

    gpu: str
    with_invalid: bool = False
    with_simulated: bool = False


def read_cells(folders: Sequence[Path], wanted: Wanted) -> tuple[list[Measured], list[LeftOut]]:
    """All cells of the sweeps in these folders.

    Raises:
        UserError: a folder is no sweep, a series is damaged, or no cell is left.
    """
    found: list[Measured] = []
    left_out: list[LeftOut] = []
    for folder in folders:
        store = SweepStore.open(folder)
        for one in _read(store, wanted):
            (found if isinstance(one, Measured) else left_out).append(one)  # type: ignore[arg-type]
    if not found:
        counts = Counter(one.why for one in left_out)
        whys = "; ".join(f"{n} {why}" for why, n in counts.most_common(5)) or "there are no records"
        raise UserError(f"no cell of {', '.join(map(str, folders))} can be fitted on: {whys}")
    return found, left_out


def _read(store: SweepStore, wanted: Wanted) -> Iterator[Measured | LeftOut]:
    for record in store.records():
        cell, why = _usable(record, wanted)
        if cell is None:
            yield LeftOut(sweep_id=store.sweep_id, cell_id=record.cell_id, why=why)
            continue
        series = {
            name: store.read_series(record, name) for name in (*_NEEDED, "scheduled", "power") if name in record.series
        }
        iterations = iterations_of(series)
        if len(iterations) < _LEAST_ITERATIONS:
            why = f"{len(iterations)} iterations"
            yield LeftOut(sweep_id=store.sweep_id, cell_id=record.cell_id, why=why)
            continue
        work = ModelWork(cell.model, cell.engine.tensor_parallel_size)
        yield Measured(
            sweep_id=store.sweep_id,
            cell_id=record.cell_id,
            label=_label(cell, store.manifest.swept),
            group=cell.configuration,
            started_unix_s=record.attempts[0].started_unix_s if record.attempts else store.manifest.created_unix_s,
            cell=cell,
            metrics=record.metrics,
            provenance=record.provenance,
            timed=timed_work(iterations, work),
            powered=_powered(series, iterations, work),
        )


def _usable(record: CellRecord, wanted: Wanted) -> tuple[Cell | None, str]:
    """The cell, or None and why it is left out."""
    why = _refused(record, wanted)
    if why:
        return None, why
    try:
        cell = Cell.model_validate(record.cell)
    except (ValidationError, UserError) as error:
        return None, f"cannot be read: {' '.join(str(error).split())[:120]}"
    why = _other(cell, wanted)
    return (None, why) if why else (cell, "")


def _refused(record: CellRecord, wanted: Wanted) -> str:
    """Why the record does not count; empty if it does."""
    if record.status == "failed":
        return "failed"
    if record.status == "invalid" and not wanted.with_invalid:
        return "invalid: " + ", ".join(reason.code for reason in record.reasons)
    if record.simulated and not wanted.with_simulated:
        return "simulated, not measured"
    missing = [name for name in _NEEDED if name not in record.series]
    return f"its record keeps no {', '.join(missing)}" if missing else ""


def _other(cell: Cell, wanted: Wanted) -> str:
    """What sets the cell apart from those that are fitted; empty if nothing does."""
    hardware = cell.hardware
    if not isinstance(hardware, HardwareSpec) or hardware.name != wanted.gpu:
        return f"on {hardware.name}, not on {wanted.gpu}"
    if hardware.power_limit_w is not None or hardware.sm_clock_mhz is not None:
        return "under a power limit or clock of its own"
    return "on several engines" if len(cell.engine_cells) > 1 else ""


def _powered(series: dict[str, pa.Table], iterations: Iterations, work: ModelWork) -> PoweredWork | None:
    if "power" not in series:
        return None
    devices = devices_of(series["power"])
    readings = readings_of(series["power"], devices) if len(devices) == work.n_gpus else None
    return None if readings is None else powered_work(iterations, work, readings)


def _label(cell: Cell, swept: Sequence[str]) -> str:
    """What tells the cell from the others, for people."""
    plain = dotted(cell.model_dump(mode="json"))
    keys = dict.fromkeys(("workflow.kind", "engine.max_num_seqs", *swept))
    return ", ".join(
        str(plain[key]) if key == "workflow.kind" else f"{key.rpartition('.')[2]}={plain[key]}"
        for key in keys
        if key in plain
    )
