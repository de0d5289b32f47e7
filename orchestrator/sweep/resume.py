"""Resume: which cells of a sweep are still to run, and whether it is the same sweep."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UserError
from orchestrator.records.provenance import VOLATILE
from orchestrator.records.record import Attempt, CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.names import dotted
from orchestrator.spec.settings import Matrix, Settings
from orchestrator.store.manifest import Start, SweepManifest
from orchestrator.store.sweep import SweepStore, new_start
from orchestrator.sweep.stopping import not_needed

_MAX_KEYS = 4
_MAX_VALUES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """A sweep taken up again: its whole matrix, the cells still to run, and what people should know.

    ``not_needed`` says why cells without a record are not to run, by their ids.
    """

    matrix: Matrix
    to_run: tuple[Cell, ...]
    warnings: tuple[str, ...]
    not_needed: Mapping[str, str]


def resume(store: SweepStore, matrix: Matrix | None, settings: Settings, provenance: Mapping[str, Any]) -> Resumption:
    """Take up a sweep, under its lock; where cells are left, the start and its warnings are added to the manifest.

    ``matrix`` is None where the command line asked for no sweep: then it is the manifest's own.

    Raises:
        UserError: the matrix is not the sweep's, and ``extend`` is not set.
    """
    old = store.manifest
    known = old.matrix()
    extended = _reconciled(old.sweep_id, known, matrix, settings.extend)
    records = {record.cell_id: record for record in store.records()}
    spared = not_needed(
        extended.cells, records, settings, ended=lambda record: not must_run(record, settings.max_attempts)
    )
    to_run = tuple(
        cell
        for cell in extended.cells
        if cell.cell_id not in spared and must_run(records.get(cell.cell_id), settings.max_attempts)
    )
    warnings = provenance_changes(old.starts[-1].provenance, provenance) if to_run else ()
    if to_run:
        start = new_start(known.overrides if matrix is None else matrix.overrides, settings, provenance)
        store.replace_manifest(_started(old, extended, start, warnings, spared))
    return Resumption(matrix=extended, to_run=to_run, warnings=warnings, not_needed=spared)


def must_run(record: CellRecord | None, max_attempts: int) -> bool:
    """Whether a resume runs the cell: missing, failed, or invalid for passing reasons only and not too often yet."""
    if record is None or record.status == "failed":
        return True
    if record.status == "ok" or not all(reason.transient for reason in record.reasons):
        return False
    return sum(attempt.outcome == "invalid" for attempt in record.attempts) < max_attempts


def merged_attempts(old: CellRecord | None, new: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The attempts of the old record, then the new ones, numbered on."""
    before = old.attempts if old is not None else ()
    numbered = (attempt.model_copy(update={"number": len(before) + i}) for i, attempt in enumerate(new, start=1))
    return (*before, *numbered)


def provenance_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """One line for each fact that differs between two starts, clocks and boots aside."""
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


def _reconciled(sweep_id: str, known: Matrix, asked: Matrix | None, extend: bool) -> Matrix:
    if asked is None:
        return known
    apart = difference(known.cells, asked.cells)
    if not apart:
        return known
    if not extend:
        raise UserError(
            f"this matrix is not that of {sweep_id}; {apart}; start a new sweep (no resume=), or add with extend=true"
        )
    if not apart.added:
        return known
    added = set(apart.added)
    return Matrix(
        name=known.name,
        cells=(*known.cells, *(cell for cell in asked.cells if cell.cell_id in added)),
        overrides=known.overrides,
        swept=tuple(dict.fromkeys((*known.swept, *asked.swept))),
        notes=tuple(dict.fromkeys((*known.notes, *asked.notes))),
    )


def _started(
    old: SweepManifest, matrix: Matrix, start: Start, warnings: tuple[str, ...], spared: Mapping[str, str]
) -> SweepManifest:
    return old.model_copy(
        update={
            "swept": matrix.swept,
            "notes": matrix.notes,
            "cells": {cell.cell_id: cell.canonical() for cell in matrix.cells},
            "order": tuple(cell.cell_id for cell in matrix.cells),
            "starts": (*old.starts, start),
            "warnings": (*old.warnings, *warnings),
            "not_needed": dict(spared),
        }
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """Ids of the cells that only the matrix has, and of those that only the sweep has."""

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
        keys=_keys_apart(before, after),
    )


def _keys_apart(before: Mapping[str, Cell], after: Mapping[str, Cell]) -> str:
    old, new = _values(before.values()), _values(after.values())
    apart = [key for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)]
    shown = [f"{key}: {_show(old.get(key))} then, {_show(new.get(key))} now" for key in apart[:_MAX_KEYS]]
    more = [f"{len(apart) - _MAX_KEYS} more keys"] if len(apart) > _MAX_KEYS else []
    return "; ".join(shown + more)


def _values(cells: Iterable[Cell]) -> dict[str, set[str]]:
    values: dict[str, set[str]] = {}
    for cell in cells:
        for key, value in dotted(cell.model_dump(mode="json")).items():
            values.setdefault(key, set()).add(_text(value))
    return values


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _show(values: set[str] | None) -> str:
    if values is None:
        return "none"
    ordered = sorted(values, key=lambda text: (len(text), text))
    return ",".join(ordered[:_MAX_VALUES]) + (",…" if len(ordered) > _MAX_VALUES else "")
