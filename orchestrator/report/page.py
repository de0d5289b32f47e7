"""The page: everything of the report in one HTML file that loads nothing else."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from plotly.offline import get_plotlyjs

from orchestrator.analysis.axes import Axes, find_axes, with_plain_levels
from orchestrator.analysis.pooling import energy_metric, latency_metric, pool
from orchestrator.analysis.text_format import metric_name
from orchestrator.report import tables
from orchestrator.report.detail import Detail, details_of
from orchestrator.report.energy_text import reason_counts
from orchestrator.report.figures import Drawn, Figures
from orchestrator.report.findings import Finding, find
from orchestrator.report.panels import front_panels
from orchestrator.report.recommended import recommended
from orchestrator.report.tables import spent_rows
from orchestrator.report.tenants import tenant_table
from orchestrator.report.view import SweepView

_FOLDER = Path(__file__).parent
_SECTIONS = (
    ("energy", "Energy over the matrix"),
    ("front", "Energy against latency"),
    ("latency", "Latency percentiles"),
    ("joules", "Where the joules went"),
    ("power", "Power over time"),
    ("workflow", "One workflow, step by step"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """The page and its figures' PNGs by file name."""

    html: str
    pngs: dict[str, bytes]
    findings: tuple[Finding, ...]


def build_report(view: SweepView) -> Report:
    """The report of a sweep; works with any number of usable cells, none included."""
    view = replace(view, frame=with_plain_levels(view.frame))
    axes = find_axes(view.frame, view.swept)
    points = pool(view.pooled, axes)
    details, problems = details_of(view, points, axes)
    drawn = tuple(Figures(points=points, axes=axes, details=details, simulated=view.simulated).all())
    findings = find(points, axes)
    energy, latency = energy_metric(points), latency_metric(points)
    html = _render(
        view,
        axes,
        details,
        figures=[_embedded(figure) for figure in drawn],
        sections=[section for section in _SECTIONS if any(figure.section == section[0] for figure in drawn)],
        findings=[(panel, tuple(group)) for panel, group in groupby(findings, lambda finding: finding.panel)],
        front=tables.front_rows(front_panels(points)),
        energy_title=metric_name(energy) if energy else "",
        latency_title=metric_name(latency) if latency else "",
        problems=problems,
        recommended=recommended(view),
        tenants=tenant_table(view.pooled, points),
        spent=spent_rows(details),
    )
    return Report(html, {f"{figure.name}.png": figure.png for figure in drawn}, findings)


def _render(
    view: SweepView, axes: Axes, details: Sequence[Detail], sections: Sequence[tuple[str, str]], **parts: object
) -> str:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=select_autoescape(["html.j2"]), undefined=StrictUndefined
    )
    excluded = tables.excluded_rows(view, axes)
    first = [("recommended", "Recommendation")] if parts["recommended"] else []
    contents = [*first, ("findings", "Findings"), *([("excluded", "Excluded cells")] if excluded else [])]
    more = [("tenants", "Tenants")] if parts["tenants"] else []
    return environment.get_template("page.html.j2").render(
        view=view,
        facts=tables.facts(view, details),
        counts=tables.status_counts(view.frame),
        n_cells=len(view.frame),
        excluded=excluded,
        reason_counts=reason_counts(view.frame),
        table=tables.cell_table(view.frame, axes),
        command=tables.reproduce_command(view),
        provenance=tables.provenance_json(view),
        contents=[*contents, *sections, *more, ("cells", "All cells"), ("provenance", "Provenance")],
        css=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        script=(_FOLDER / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        sections=sections,
        **parts,
    )


def _embedded(figure: Drawn) -> dict[str, str]:
    return {
        "name": figure.name,
        "section": figure.section,
        "caption": figure.caption,
        "html": figure.html,
        "base64": base64.b64encode(figure.png).decode("ascii"),
    }
