"""What a command tells people: results and plans on standard output, warnings on standard error."""

import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.records.record import CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.names import dotted, redacted, run_name
from orchestrator.spec.settings import Matrix, Settings
from orchestrator.store.sweep import SweepStore

_SHOWN = 10
_KEPT = {"runs_dir", "executor", "order", "max_attempts", "tracking", "cluster"}
_WRITTEN_AS = {"order": "protocol.order", "max_attempts": "protocol.max_attempts"}
_PLAIN = re.compile(r"[A-Za-z/.][A-Za-z0-9_./:+-]*")


def say(line: str) -> None:
    """A line on standard output, there at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def warn(line: str) -> None:
    """A warning on standard error, on one line."""
    sys.stderr.write(f"warning: {' '.join(line.split())}\n")
    sys.stderr.flush()


def tell_start(
    matrix: Matrix,
    to_run: Sequence[Cell],
    refused: Mapping[str, str],
    warnings: Iterable[str],
    *,
    n_not_needed: int = 0,
) -> None:
    """What is about to run, the cells that cannot (causes by cell id) first; how many a stop rule has taken out."""
    for cell in [cell for cell in to_run if cell.cell_id in refused][:_SHOWN]:
        name = run_name(cell.model_dump(mode="json"), matrix.swept) or cell.cell_id
        say(f"cannot run: {name}: {refused[cell.cell_id]}")
    if len(refused) > _SHOWN:
        say(f"cannot run: {len(refused) - _SHOWN} more cells; `python -m orchestrator plan` names them all")
    for note in matrix.notes:
        say(f"note: {note}")
    for warning in warnings:
        warn(warning)
    if matrix.question is not None:
        say(matrix.question)
    done = len(matrix.cells) - len(to_run) - n_not_needed
    left = "".join(f", {n} {what}" for n, what in ((done, "done before"), (n_not_needed, "not needed any more")) if n)
    say(f"{matrix.name}: {_counted(len(matrix.cells))}{left}, {len(to_run) - len(refused)} to run")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Cells of the matrix by what became of them; ``skipped`` is the part of ``ok`` that was there before.

    ``not_needed`` are repeats that were not run because the stop rule was met before them.
    """

    cells: int
    ok: int
    failed: int
    invalid: int
    pending: int
    not_needed: int
    skipped: int


def tell_end(
    store: SweepStore, state: State, settings: Settings, *, report: str | None = None, interrupted: bool = False
) -> None:
    """What came of it, failed cells with their causes, and what to do next."""
    failed = [record for record in store.records() if record.status != "ok"]
    for record in failed[:_SHOWN]:
        name = run_name(record.cell, store.manifest.swept) or record.cell_id
        say(f"{record.status}: {name}: {_cause(record)}")
    if len(failed) > _SHOWN:
        say(f"and {len(failed) - _SHOWN} more, in {store.paths.results_csv}")
    parts = [
        f"{getattr(state, name)} {name.replace('_', ' ')}"
        for name in ("ok", "failed", "invalid", "pending", "not_needed")
        if getattr(state, name)
    ]
    say(f"{store.sweep_id}: {', '.join(parts)} of {_counted(state.cells)}; results in {store.paths.results_csv}")
    if report is not None:
        say(f"report: {report}")
    if interrupted or state.pending:
        say(f"resume with: {resume_command(store.sweep_id, settings)}")


def _counted(n_cells: int) -> str:
    return f"{n_cells} cell{'' if n_cells == 1 else 's'}"


def _cause(record: CellRecord) -> str:
    if record.status == "invalid":
        return "; ".join(f"{reason.code}: {reason.detail}" for reason in record.reasons)
    return record.attempts[-1].error or "no cause was recorded"


def resume_command(sweep_id: str, settings: Settings) -> str:
    """A command for the shell, with every setting of how cells are run that is not the default.

    The password in an address is left out: it is the user's to put back.
    """
    given, usual = (dotted(each.model_dump(mode="json", include=_KEPT)) for each in (settings, Settings()))
    apart = {_WRITTEN_AS.get(key, key): value for key, value in given.items() if value != usual[key]}
    words = [f"{key}={_in_hydras_grammar(value)}" for key, value in apart.items()]
    return shlex.join(["python", "-m", "orchestrator", f"resume={sweep_id}", *words])


def _in_hydras_grammar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    text = redacted(value)
    if _PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    return '"' + text.replace('"', r"\"") + '"'


def state_of(store: SweepStore, rerun: Container[str]) -> State:
    """Counted from the records on disk; ``rerun`` holds the ids of the cells that were to run this time."""
    found = {record.cell_id: record.status for record in store.records()}
    count = Counter(found.values())
    manifest = store.manifest
    pending = len(manifest.missing(found))
    return State(
        cells=len(manifest.order),
        ok=count["ok"],
        failed=count["failed"],
        invalid=count["invalid"],
        pending=pending,
        not_needed=len(manifest.order) - count.total() - pending,
        skipped=sum(status == "ok" and cell_id not in rerun for cell_id, status in found.items()),
    )


def run_line(store: SweepStore, state: State, settings: Settings, report: str | None, duration_s: float) -> str:
    """What scripts read after a run (README, "The last line")."""
    engines = dict.fromkeys(cell["engine"]["kind"] for cell in store.manifest.cells.values())
    line: dict[str, Any] = {
        "command": "run",
        "sweep": store.sweep_id,
        **asdict(state),
        "engine": ",".join(engines),
        "engine_starts": sum(lane.engine_start_s is not None for lane in store.lanes()),
        "runs_dir": settings.runs_dir,
        "report": report,
        "tracking_uri": redacted(settings.tracking.uri) if settings.tracking.enabled else None,
        "duration_s": round(duration_s, 3),
    }
    return json.dumps(line)
