"""The report of a sweep: one HTML file that loads nothing else, its figures as PNGs, its findings as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from plotly.offline import get_plotlyjs

from orchestrator.analysis.axes import Axes, find_axes, with_plain_levels
from orchestrator.analysis.pooling import energy_metric, latency_metric, pool
from orchestrator.records.text_format import metric_name
from orchestrator.report import tables
from orchestrator.report.detail import Detail, details_of
from orchestrator.report.energy_text import reason_counts
from orchestrator.report.figures import Figures
from orchestrator.report.findings import Finding, find
from orchestrator.report.panels import front_panels
from orchestrator.report.recommendation_text import recommended
from orchestrator.report.tenants import spent_rows, tenant_table
from orchestrator.report.view import SweepView, view_of
from orchestrator.store.files import replacing, sync_folder, usable
from orchestrator.store.sweep import SweepStore

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
    """The page, the PNGs of its figures by file name, and the findings."""

    html: str
    pngs: dict[str, bytes]
    findings: tuple[Finding, ...]


def write_report(store: SweepStore) -> Path:
    """Write ``report.html``, ``findings.json`` and ``figures/*.png`` of a sweep, each whole or not at all.

    Returns:
        The path of the page.

    Raises:
        EnvironmentFailure: the folder cannot be written or the disk is full.
    """
    report = build_report(view_of(store))
    paths = store.paths
    with usable(paths.root):
        paths.figures.mkdir(exist_ok=True)
        for name, content in report.pngs.items():
            with replacing(paths.figures / name) as file:
                file.write(content)
        for stale in {path.name for path in paths.figures.glob("*.png")} - report.pngs.keys():
            (paths.figures / stale).unlink(missing_ok=True)
        sync_folder(paths.figures)
        with replacing(paths.findings) as file:
            file.write(json.dumps([asdict(finding) for finding in report.findings], indent=1).encode())
        with replacing(paths.report) as file:
            file.write(report.html.encode())
        sync_folder(paths.root)
    return paths.report


def build_report(view: SweepView) -> Report:
    """Return the report of a sweep with any number of usable cells, also none."""
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
        figures=drawn,
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
