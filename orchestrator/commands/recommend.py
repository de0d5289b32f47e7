"""``recommend SWEEP slo=NAME``: choose the setting of least energy that meets an objective, and price each limit."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.analysis.candidates import Attainment, attainment, candidates
from orchestrator.analysis.pooling import energy_metric
from orchestrator.analysis.recommendation import own_latencies, own_series, recommend
from orchestrator.analysis.results import results_table
from orchestrator.cli import Arguments, CommandResult, parse_arguments
from orchestrator.errors import UserError, allowed_names
from orchestrator.matrix.compose import compose
from orchestrator.matrix.validate import settings_of
from orchestrator.measure.window import Window
from orchestrator.records.metrics import BY_KEY
from orchestrator.records.record import CellRecord
from orchestrator.report.recommendation_text import SIMULATED_NOTE, plain, show
from orchestrator.spec.settings import Slo
from orchestrator.store.paths import find_sweep
from orchestrator.store.sweep import SweepStore

if TYPE_CHECKING:
    import pandas as pd

_SLO_KEYS = tuple(f"slo.{name}" for name in Slo.model_fields if name != "name")
_OPTIONS = ("slo", *_SLO_KEYS, "workflow", "tenant", "metric", "by", "runs_dir", "config-dir")
_USAGE = (
    "SWEEP slo=NAME [slo.ttft_ms=500 …] [workflow=KIND] [tenant=NAME] [metric=KEY] [by=KEY,…] [runs_dir=runs] "
    "[--config-dir DIR]"
)


def main(arguments: list[str]) -> CommandResult:
    """Recommend a setting for each panel of a sweep; the exit code is 1 if a panel has none that meets the objective.

    Raises:
        UserError: there is no such sweep, objective, metric or key, or the sweep has no ok cell.
    """
    given = parse_arguments("recommend", _USAGE, arguments, _OPTIONS)
    if len(given.words) != 1:
        raise UserError(f"recommend takes one sweep (an id, a folder or latest), got {' '.join(given.words) or 'none'}")
    store = SweepStore.open(find_sweep(given.runs_dir, given.words[0]).root)
    slo = _objective(given, store)
    records = tuple(store.records())
    frame = _selected(given, results_table(records).to_pandas())
    metric = _metric(given, frame)
    attained = _attained(store, _ok(records, frame), slo, given.options.get("tenant"))
    frame = _of_tenant(given, frame, attained)
    panels = candidates(frame, metric, attained, swept=store.manifest.swept, by=_panel_keys(given, frame))
    recommendations = [recommend(panel, slo) for panel in panels]
    fields = {
        "sweep": store.sweep_id,
        "slo": slo.model_dump(exclude_none=True),
        "tenant": given.options.get("tenant"),
        "metric": metric,
        "simulated": bool(frame["simulated"].any()),
        "missing": len(store.manifest.missing({record.cell_id for record in records})),
        "panels": [plain(one) for one in recommendations],
    }
    show(Console(highlight=False, soft_wrap=True), recommendations, slo, metric, _origin(frame, fields))
    return CommandResult(0 if all(one.choice is not None for one in recommendations) else 1, fields)


def _objective(given: Arguments, store: SweepStore) -> Slo:
    """Return the objective of the command line, composed by Hydra to find users' own presets, or the sweep's own."""
    slo = Slo.model_validate(store.manifest.starts[-1].settings.get("slo", {}))
    given_keys = {key: value for key, value in given.options.items() if key in ("slo", *_SLO_KEYS)}
    if given_keys:
        own = {} if "slo" in given_keys else slo.model_dump(exclude_none=True, exclude={"name"})
        overrides = {f"slo.{key}": value for key, value in own.items()} | given_keys
        folder = given.options.get("config-dir")
        composed = compose([*(("--config-dir", folder) if folder else ()), *(f"{k}={v}" for k, v in overrides.items())])
        slo = settings_of(composed.points[0].config).slo if composed is not None else slo
    if not slo.limits_anything:
        raise UserError("recommend needs an objective: slo=NAME (slo=chat) or a limit such as slo.ttft_ms=500")
    return slo


def _metric(given: Arguments, frame: "pd.DataFrame") -> str:
    ok = frame[frame["status"] == "ok"]
    if ok.empty:
        raise UserError("the sweep has no ok cell to recommend; resume it, or look at the reasons in its results.csv")
    if ok["simulated"].nunique() > 1:
        raise UserError("some cells are simulated and others measured; computed and measured energies are not compared")
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


def _selected(given: Arguments, frame: "pd.DataFrame") -> "pd.DataFrame":
    kind = given.options.get("workflow")
    kinds = set(frame["workflow.kind"]) if "workflow.kind" in frame else set()
    if kind is not None and kind not in kinds:
        raise UserError(f"recommend: no cell of the sweep has workflow={kind}; {allowed_names(kind, kinds)}")
    return frame if kind is None else frame[frame["workflow.kind"] == kind]


def _ok(records: Iterable[CellRecord], frame: "pd.DataFrame") -> list[CellRecord]:
    selected = set(frame["cell_id"])
    return [record for record in records if record.status == "ok" and record.cell_id in selected]


def _attained(store: SweepStore, records: Iterable[CellRecord], slo: Slo, tenant: str | None) -> dict[str, Attainment]:
    """Return the attainment of each cell; with a tenant, the tenant's own in each cell that has it."""
    attained = {}
    for record in records:
        series = {name: store.read_series(record, name) for name in ("requests", "steps")}
        if tenant is not None:
            series = own_series(series, tenant)
        if tenant is None or series["requests"].num_rows:
            attained[record.cell_id] = attainment(series, Window(**(record.window or {})), slo)
    if not attained:
        raise UserError(f"recommend: no ok cell has the tenant {tenant!r}; the requests of a cell name its tenants")
    return attained


def _of_tenant(given: Arguments, frame: "pd.DataFrame", attained: Mapping[str, Attainment]) -> "pd.DataFrame":
    """Return the cells; with a tenant, those of the workflows that have it, with its latencies."""
    tenant = given.options.get("tenant")
    if tenant is None:
        return frame
    has = frame["cell_id"].isin(list(attained))
    kinds = frame.loc[has, "workflow.kind"]
    return own_latencies(frame[has | ((frame["status"] != "ok") & frame["workflow.kind"].isin(kinds))], tenant)


def _origin(frame: "pd.DataFrame", fields: Mapping[str, Any]) -> list[str]:
    lines = [f"sweep: {fields['sweep']}"]
    n_simulated = int(frame["simulated"].sum())
    if n_simulated:
        what = "all cells" if n_simulated == len(frame) else f"{n_simulated} of {len(frame)} cells"
        lines.append(f"SIMULATED: {what} were computed, not measured; {SIMULATED_NOTE}")
    if fields["missing"]:
        lines.append(f"cells without a result yet: {fields['missing']}")
    return [*lines, f"judged: the requests of tenant {fields['tenant']} only"] if fields["tenant"] else lines
