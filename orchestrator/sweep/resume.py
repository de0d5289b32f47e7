"""Resume: whether the matrix is the sweep's, which of its cells still run, and with which settings."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from orchestrator.errors import UserError
from orchestrator.records.provenance import VOLATILE
from orchestrator.records.record import CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.names import dotted
from orchestrator.spec.settings import Matrix, Settings, Slo, StopRule, Tariff
from orchestrator.store.manifest import Start, SweepManifest
from orchestrator.store.sweep import SweepStore, new_start
from orchestrator.sweep.stopping import cells_not_needed

_MAX_KEYS = 4
_MAX_VALUES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepWork:
    """What a driver runs: the whole matrix, the cells still to run, the settings, and warnings for people.

    ``not_needed`` maps ids of cells without a record that are not to run to the reason.
    """

    matrix: Matrix
    to_run: tuple[Cell, ...]
    settings: Settings
    warnings: tuple[str, ...] = ()
    not_needed: Mapping[str, str] = field(default_factory=dict)


def resume(store: SweepStore, matrix: Matrix | None, settings: Settings, provenance: Mapping[str, Any]) -> SweepWork:
    """Resume a sweep whose lock is held; if cells are left, add the start and its warnings to the manifest.

    ``matrix`` is None if the command line names no cells: then it is the manifest's own.

    Raises:
        UserError: the matrix is not the sweep's, and ``extend`` is not set.
    """
    old = store.manifest
    last = old.starts[-1]
    settings = inherit_settings(settings, last)
    old_matrix = old.matrix()
    extended = _extended(old.sweep_id, old_matrix, matrix, settings.extend)
    records = {record.cell_id: record for record in store.records()}
    not_needed = cells_not_needed(
        extended.cells, records, settings, final=lambda record: not must_run(record, settings.max_attempts)
    )
    to_run = tuple(
        cell
        for cell in extended.cells
        if cell.cell_id not in not_needed and must_run(records.get(cell.cell_id), settings.max_attempts)
    )
    changes = provenance_changes(last.provenance, provenance) if to_run else ()
    if to_run:
        start = new_start(old_matrix.overrides if matrix is None else matrix.overrides, settings, provenance)
        store.replace_manifest(_with_start(old, extended, start, changes, not_needed))
    warnings = (*changes, *scoring_changes(settings, last))
    return SweepWork(matrix=extended, to_run=to_run, settings=settings, warnings=warnings, not_needed=not_needed)


def inherit_settings(settings: Settings, last: Start) -> Settings:
    """Return the settings with the objective, tariff and stop rule of the sweep's last start where none is given."""
    inherited: dict[str, BaseModel] = {}
    if settings.slo == Slo():
        inherited["slo"] = Slo.model_validate(last.settings.get("slo", {}))
    if settings.tariff == Tariff():
        inherited["tariff"] = Tariff.model_validate(last.settings.get("tariff", {}))
    if settings.stop_when.metric is None:
        inherited["stop_when"] = StopRule.model_validate(last.settings.get("stop_when", {}))
    return settings.model_copy(update=inherited)


def scoring_changes(settings: Settings, last: Start) -> tuple[str, ...]:
    """Return a warning for each of objective and tariff that differs from that of the cells already recorded."""
    before = inherit_settings(settings.model_copy(update={"slo": Slo(), "tariff": Tariff()}), last)
    lines = []
    if settings.slo != before.slo:
        lines.append(f"slo: existing cells were scored with {before.slo}; new cells with {settings.slo}")
    if settings.tariff != before.tariff:
        lines.append("tariff: existing cells have the costs of the last start; new cells those of this start")
    return tuple(lines)


def must_run(record: CellRecord | None, max_attempts: int) -> bool:
    """Return whether a resume runs the cell: no record, failed, or invalid for transient reasons with attempts left."""
    if record is None or record.status == "failed":
        return True
    if record.status == "ok" or not all(reason.transient for reason in record.reasons):
        return False
    return sum(attempt.outcome == "invalid" for attempt in record.attempts) < max_attempts


def provenance_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line for each fact that differs between two starts, except clocks and boot ids."""
    before, after = _facts(old), _facts(new)
    return tuple(
        f"changed since the last start: {key} was {_shown(before.get(key))}, is {_shown(after.get(key))}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
    )


def _facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in dotted(provenance).items() if not key.startswith(VOLATILE)}


def _shown(value: Any) -> str:
    return "absent" if value is None else str(value)


def _extended(sweep_id: str, old: Matrix, requested: Matrix | None, extend: bool) -> Matrix:
    """Return the old matrix, with the requested cells it lacks if ``extend`` allows them."""
    if requested is None:
        return old
    changes = difference(old.cells, requested.cells)
    if not changes:
        return old
    if not extend:
        raise UserError(
            f"this matrix is not that of {sweep_id}; {changes}; "
            "start a new sweep (no resume=), or add cells with extend=true"
        )
    if not changes.added:
        return old
    added = set(changes.added)
    return Matrix(
        name=old.name,
        cells=(*old.cells, *(cell for cell in requested.cells if cell.cell_id in added)),
        overrides=old.overrides,
        swept=tuple(dict.fromkeys((*old.swept, *requested.swept))),
        notes=tuple(dict.fromkeys((*old.notes, *requested.notes))),
    )


def _with_start(
    old: SweepManifest, matrix: Matrix, start: Start, warnings: tuple[str, ...], not_needed: Mapping[str, str]
) -> SweepManifest:
    return old.model_copy(
        update={
            "swept": matrix.swept,
            "notes": matrix.notes,
            "cells": {cell.cell_id: cell.canonical() for cell in matrix.cells},
            "order": tuple(cell.cell_id for cell in matrix.cells),
            "starts": (*old.starts, start),
            "warnings": (*old.warnings, *warnings),
            "not_needed": dict(not_needed),
        }
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """Ids of cells that only the new matrix has, and of cells that only the old one has; ``keys`` shows where."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    keys: str

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    def __str__(self) -> str:
        parts = [f"{len(ids)} {word}" for ids, word in ((self.added, "added"), (self.removed, "removed")) if ids]
        return f"cells: {', '.join(parts)}" + (f" ({self.keys})" if self.keys else "")


def difference(old: Iterable[Cell], new: Iterable[Cell]) -> Difference:
    """Compare two matrices as sets of cells."""
    before = {cell.cell_id: cell for cell in old}
    after = {cell.cell_id: cell for cell in new}
    return Difference(
        added=tuple(cell_id for cell_id in after if cell_id not in before),
        removed=tuple(cell_id for cell_id in before if cell_id not in after),
        keys=_changed_keys(before, after),
    )


def _changed_keys(before: Mapping[str, Cell], after: Mapping[str, Cell]) -> str:
    old, new = _values(before.values()), _values(after.values())
    keys = [key for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)]
    changes = [f"{key}: {_listed(old.get(key))} then, {_listed(new.get(key))} now" for key in keys[:_MAX_KEYS]]
    more = [f"{len(keys) - _MAX_KEYS} more keys"] if len(keys) > _MAX_KEYS else []
    return "; ".join(changes + more)


def _values(cells: Iterable[Cell]) -> dict[str, set[str]]:
    values: dict[str, set[str]] = {}
    for cell in cells:
        for key, value in dotted(cell.model_dump(mode="json")).items():
            values.setdefault(key, set()).add(value if isinstance(value, str) else json.dumps(value))
    return values


def _listed(values: set[str] | None) -> str:
    if values is None:
        return "none"
    ordered = sorted(values, key=lambda text: (len(text), text))
    return ",".join(ordered[:_MAX_VALUES]) + (",…" if len(ordered) > _MAX_VALUES else "")
