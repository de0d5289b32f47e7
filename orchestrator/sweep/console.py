"""What a sweep prints for people: results on standard output, warnings on standard error."""

import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.records.record import CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.names import dotted, redacted, run_name
from orchestrator.spec.settings import Matrix, Settings
from orchestrator.store.sweep import SweepStore

_MAX_LISTED = 10
_RESUMED_SETTINGS = {"runs_dir", "executor", "order", "max_attempts", "tracking", "cluster"}
_OPTION_NAMES = {"order": "protocol.order", "max_attempts": "protocol.max_attempts"}
_PLAIN = re.compile(r"[A-Za-z/.][A-Za-z0-9_./:+-]*")


def print_line(line: str) -> None:
    """Print a line on standard output and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def warn(line: str) -> None:
    """Print a warning on standard error, on one line."""
    sys.stderr.write(f"warning: {' '.join(line.split())}\n")
    sys.stderr.flush()


def print_start(
    matrix: Matrix,
    to_run: Sequence[Cell],
    infeasible: Mapping[str, str],
    warnings: Iterable[str],
    *,
    n_not_needed: int,
) -> None:
    """Print which cells cannot run (reasons by cell id), notes and warnings, and how many cells will run."""
    for cell in [cell for cell in to_run if cell.cell_id in infeasible][:_MAX_LISTED]:
        name = run_name(cell.model_dump(mode="json"), matrix.swept) or cell.cell_id
        print_line(f"cannot run: {name}: {infeasible[cell.cell_id]}")
    if len(infeasible) > _MAX_LISTED:
        print_line(f"cannot run: {len(infeasible) - _MAX_LISTED} more cells; `python -m orchestrator plan` lists all")
    for note in matrix.notes:
        print_line(f"note: {note}")
    for warning in warnings:
        warn(warning)
    if matrix.question is not None:
        print_line(matrix.question)
    n_done = len(matrix.cells) - len(to_run) - n_not_needed
    rest = ((n_done, "done before"), (n_not_needed, "not needed any more"))
    parts = [_cells(len(matrix.cells)), *(f"{n} {state}" for n, state in rest if n)]
    print_line(f"{matrix.name}: {', '.join(parts)}, {len(to_run) - len(infeasible)} to run")


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCounts:
    """Numbers of cells of the matrix by state; ``skipped`` is the part of ``ok`` that was complete before this start.

    ``not_needed`` are repeats that did not run because the stop rule was met before them.
    """

    cells: int
    ok: int
    failed: int
    invalid: int
    pending: int
    not_needed: int
    skipped: int


def count_cells(store: SweepStore, started: Container[str]) -> CellCounts:
    """Count the records on disk; ``started`` holds the ids of the cells that were to run in this start."""
    statuses = {record.cell_id: record.status for record in store.records()}
    counts = Counter(statuses.values())
    manifest = store.manifest
    pending = len(manifest.missing(statuses))
    return CellCounts(
        cells=len(manifest.order),
        ok=counts["ok"],
        failed=counts["failed"],
        invalid=counts["invalid"],
        pending=pending,
        not_needed=len(manifest.order) - counts.total() - pending,
        skipped=sum(status == "ok" and cell_id not in started for cell_id, status in statuses.items()),
    )


def print_end(
    store: SweepStore, counts: CellCounts, settings: Settings, *, report: str | None, interrupted: bool
) -> None:
    """Print the cells that are not ok with their reasons, the counts, and what to do next."""
    not_ok = [record for record in store.records() if record.status != "ok"]
    for record in not_ok[:_MAX_LISTED]:
        name = run_name(record.cell, store.manifest.swept) or record.cell_id
        print_line(f"{record.status}: {name}: {_reason(record)}")
    if len(not_ok) > _MAX_LISTED:
        print_line(f"and {len(not_ok) - _MAX_LISTED} more, in {store.paths.results_csv}")
    parts = [
        f"{getattr(counts, name)} {name.replace('_', ' ')}"
        for name in ("ok", "failed", "invalid", "pending", "not_needed")
        if getattr(counts, name)
    ]
    print_line(f"{store.sweep_id}: {', '.join(parts)} of {_cells(counts.cells)}; results in {store.paths.results_csv}")
    if report is not None:
        print_line(f"report: {report}")
    if interrupted or counts.pending:
        print_resume_hint(store.sweep_id, settings)


def print_resume_hint(sweep_id: str, settings: Settings) -> None:
    """Print the command that resumes the sweep."""
    print_line(f"resume with: {resume_command(sweep_id, settings)}")


def resume_command(sweep_id: str, settings: Settings) -> str:
    """Return a shell command that resumes the sweep, with every setting of how cells run that is not the default.

    A password in an address is left out; the user adds it.
    """
    given, default = (
        dotted(each.model_dump(mode="json", include=_RESUMED_SETTINGS)) for each in (settings, Settings())
    )
    changed = {_OPTION_NAMES.get(key, key): value for key, value in given.items() if value != default[key]}
    overrides = [f"{key}={_hydra_value(value)}" for key, value in changed.items()]
    return shlex.join(["python", "-m", "orchestrator", f"resume={sweep_id}", *overrides])


def _cells(n_cells: int) -> str:
    return f"{n_cells} cell{'' if n_cells == 1 else 's'}"


def _reason(record: CellRecord) -> str:
    if record.status == "invalid":
        return "; ".join(f"{reason.code}: {reason.detail}" for reason in record.reasons)
    return record.attempts[-1].error or "no reason was recorded"


def _hydra_value(value: Any) -> str:
    """Return the value in the grammar of Hydra's overrides."""
    if not isinstance(value, str):
        return json.dumps(value)
    text = redacted(value)
    if _PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    return '"' + text.replace('"', r"\"") + '"'
