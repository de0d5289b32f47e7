"""What the report recommends where a sweep was run with an objective."""

from dataclasses import dataclass

from orchestrator.analysis.candidates import attainment, candidates
from orchestrator.analysis.pooling import energy_metric
from orchestrator.analysis.recommendation import recommend
from orchestrator.analysis.text_format import metric_name
from orchestrator.errors import UserError
from orchestrator.measure.window import Window
from orchestrator.report.recommendation_text import SIMULATED_NOTE, panel_lines
from orchestrator.report.view import SweepView
from orchestrator.spec.settings import Slo


@dataclass(frozen=True, slots=True)
class Recommended:
    """What was asked, and the answer for each kind of work, a line at a time."""

    lead: str
    answers: tuple[tuple[str, ...], ...]


def recommended(view: SweepView) -> Recommended | None:
    """The least energy that meets the sweep's own objective; None without one, or where resumes named several."""
    pooled = view.pooled
    records = [view.record(cell_id) for cell_id in pooled["cell_id"]]
    slos = {Slo.model_validate(record.provenance.get("slo") or {}) for record in records}
    metric = energy_metric(pooled)
    if metric is None or len(slos) != 1 or not (slo := slos.pop()).limits_anything:
        return None
    try:
        attained = {
            record.cell_id: attainment(
                {name: view.series(record.cell_id, name) for name in ("requests", "steps")},
                Window(**(record.window or {})),
                slo,
            )
            for record in records
        }
    except UserError as error:
        return Recommended(f"None: {error}", ())
    panels = candidates(view.frame, metric, attained, swept=view.swept)
    note = f" Simulated: {SIMULATED_NOTE}." if view.simulated else ""
    return Recommended(
        f"The least {metric_name(metric)} within {slo}.{note}",
        tuple(tuple(panel_lines(recommend(panel, slo), slo, metric)) for panel in panels),
    )
