"""The state of a sweep in one JSON line: the whole matrix, now."""

import json
from collections import Counter
from collections.abc import Container
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.spec.names import shown
from orchestrator.spec.settings import Settings
from orchestrator.store.sweep import SweepStore


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
        "tracking_uri": shown(settings.tracking.uri) if settings.tracking.enabled else None,
        "duration_s": round(duration_s, 3),
    }
    return json.dumps(line)
