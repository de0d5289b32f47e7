"""``recommend SWEEP slo=NAME``: the setting of least energy that meets an objective, and what each limit costs."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.analysis.candidates import Candidate, candidates
from orchestrator.analysis.objective import Attainment, attainment, share
from orchestrator.analysis.recommendation import Constraint, Recommendation, recommend
from orchestrator.analysis.show_recommendation import show
from orchestrator.arguments import Arguments, parsed
from orchestrator.errors import UserError
from orchestrator.matrix.cells import settings_of
from orchestrator.matrix.compose import compose
from orchestrator.matrix.suggestion import allowed_names
from orchestrator.measure.window import Window
from orchestrator.metrics import BY_KEY
from orchestrator.record import CellRecord
from orchestrator.report.points import energy_metric
from orchestrator.results import results_table
from orchestrator.slo import Slo
from orchestrator.store.find import find_sweep
from orchestrator.store.sweep import SweepStore

if TYPE_CHECKING:
    import pandas as pd

_SLO_KEYS = tuple(f"slo.{name}" for name in Slo.model_fields if name != "name")
_OPTIONS = ("slo", *_SLO_KEYS, "metric", "by", "runs_dir", "config-dir")


def main(arguments: list[str]) -> int:
    """Recommend a setting for each kind of work in a sweep; 1 where one of them has none that meets the objective.

    Raises:
        UserError: there is no such sweep, objective, metric or key, or the sweep has no ok cell.
    """
    given = parsed("recommend", arguments, _OPTIONS)
    if len(given.words) != 1:
        raise UserError(f"recommend takes one sweep (an id, a folder or latest), got {' '.join(given.words) or 'none'}")
    store = SweepStore.open(find_sweep(Path(given.options.get("runs_dir", "runs")), given.words[0]).root)
    slo = _objective(given, store)
    records = tuple(store.records())
    frame = results_table(records).to_pandas()
    metric = _metric(given, frame)
    panels = candidates(
        frame,
        metric,
        {record.cell_id: _attained(store, record, slo) for record in records if record.status == "ok"},
        swept=store.manifest.swept,
        by=_panel_keys(given, frame),
    )
    found = [recommend(panel, slo) for panel in panels]
    line = {
        "command": "recommend",
        "sweep": store.sweep_id,
        "slo": slo.model_dump(exclude_none=True),
        "metric": metric,
        "simulated": bool(frame["simulated"].any()),
        "missing": len(store.manifest.order) - len(records),
        "panels": [_plain(one) for one in found],
    }
    show(Console(highlight=False, soft_wrap=True), found, slo, metric, _origin(frame, line))
    sys.stdout.write(json.dumps(line, allow_nan=False) + "\n")
    return 0 if all(one.choice is not None for one in found) else 1


def _objective(given: Arguments, store: SweepStore) -> Slo:
    """What the command line says, composed by Hydra so that users' own presets count; else the sweep's own."""
    overrides = [f"{key}={value}" for key, value in given.options.items() if key in ("slo", *_SLO_KEYS)]
    if overrides:
        folder = given.options.get("config-dir")
        composed = compose([*(("--config-dir", folder) if folder else ()), *overrides])
        slo = settings_of(composed.points[0].config).slo if composed is not None else Slo()
    else:
        slo = Slo.model_validate(store.manifest.starts[-1].settings.get("slo", {}))
    if not slo.limits_anything:
        raise UserError("recommend needs an objective: slo=NAME (slo=chat) or a limit such as slo.ttft_ms=500")
    return slo


def _metric(given: Arguments, frame: "pd.DataFrame") -> str:
    ok = frame[frame["status"] == "ok"]
    if ok.empty:
        raise UserError("the sweep has no ok cell to recommend; resume it, or look at the reasons in its results.csv")
    if ok["simulated"].nunique() > 1:
        raise UserError("some cells are simulated and others measured; what was computed is not weighed against them")
    allowed = [key for key, row in BY_KEY.items() if row.better == "lower" and key in ok and ok[key].notna().any()]
    metric = given.options.get("metric", energy_metric(ok))
    if metric not in allowed:
        known = allowed_names(str(metric), allowed)
        raise UserError(f"recommend: metric={metric} was not measured or is not one to minimise; {known}")
    return metric


def _panel_keys(given: Arguments, frame: "pd.DataFrame") -> tuple[str, ...]:
    known = [key for key in frame.columns if "." in key]
    for key in given.names("by"):
        if key not in known:
            raise UserError(f"recommend: by={key} is no key of these cells; {allowed_names(key, known)}")
    return given.names("by")


def _attained(store: SweepStore, record: CellRecord, slo: Slo) -> Attainment:
    series = {name: store.read_series(record, name) for name in ("requests", "steps")}
    return attainment(series, Window(**(record.window or {})), slo)


def _origin(frame: "pd.DataFrame", line: Mapping[str, Any]) -> list[str]:
    lines = [f"sweep: {line['sweep']}"]
    n_simulated = int(frame["simulated"].sum())
    if n_simulated:
        what = "all cells" if n_simulated == len(frame) else f"{n_simulated} of {len(frame)} cells"
        lines.append(f"SIMULATED: {what} were computed, not measured")
    return lines + ([f"cells without a result yet: {line['missing']}"] if line["missing"] else [])


def _plain(one: Recommendation) -> dict[str, Any]:
    cost = one.cost
    return {
        "panel": one.panel.name,
        "choice": _setting(one.choice),
        "cost": None if cost is None else _rounded(cost.value),
        "low": None if cost is None else _rounded(cost.low),
        "high": None if cost is None else _rounded(cost.high),
        "equal": [_setting(other) for other in one.equal],
        "runner_up": _setting(one.runner_up),
        "resolved": one.resolved,
        "nearest": _setting(one.nearest),
        "constraints": [_priced(constraint) for constraint in one.constraints],
        "excluded": {
            "invalid": one.panel.n_invalid,
            "failed": one.panel.n_failed,
            "unmet": one.n_unmet,
            "unmeasured": one.panel.n_unmeasured,
        },
    }


def _setting(candidate: Candidate | None) -> dict[str, Any] | None:
    if candidate is None:
        return None
    return {
        "label": candidate.label,
        "settings": dict(candidate.levels),
        "cells": list(candidate.cells),
        "cost": candidate.cost,
        "attained": _rounded(share(candidate.attainments)),
    }


def _priced(constraint: Constraint) -> dict[str, Any]:
    relaxed = constraint.relaxed
    return {
        "name": constraint.name,
        "limit": constraint.limit_ms,
        "reached": _rounded(constraint.reached_ms),
        "cost": _rounded(constraint.price),
        "without": None if relaxed is None else {"label": relaxed.label, "cost": relaxed.cost},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.9g}")
