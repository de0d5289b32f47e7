"""A recommendation for the console, for the report and as plain data: a few lines for each kind of work."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from orchestrator.analysis.candidates import Candidate, attainment, candidates, share
from orchestrator.analysis.pooling import energy_metric
from orchestrator.analysis.recommendation import Constraint, Recommendation, recommend
from orchestrator.errors import UserError
from orchestrator.measure.window import Window
from orchestrator.records.metrics import BY_KEY
from orchestrator.records.text_format import MISSING, metric_name, number, percent, quantity
from orchestrator.report.panels import merged_label
from orchestrator.report.view import SweepView
from orchestrator.spec.settings import Slo

SIMULATED_NOTE = "repeats resolve the model's differences, not a GPU's; its error: docs/simulation.md"

_LIMIT_NAMES = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2el_ms": "request", "workflow_ms": "workflow"}


def show(
    console: Console, recommendations: Sequence[Recommendation], slo: Slo, metric: str, origin: Iterable[str]
) -> None:
    """Print the lines ``origin`` (the source of the figures), the objective, then every panel."""
    for line in (*origin, f"objective: {slo}", f"least: {metric} ({BY_KEY[metric].unit})"):
        console.print(line, markup=False)
    for one in recommendations:
        console.print()
        for line in panel_lines(one, slo, metric):
            console.print(line, markup=False)


def panel_lines(one: Recommendation, slo: Slo, metric: str) -> list[str]:
    """Return the lines about one kind of work."""
    unit = BY_KEY[metric].unit
    head = _chosen(one, unit) if one.choice is not None else _missed(one, slo, unit)
    counts = {
        "do not meet the objective": one.n_unmet,
        "invalid": one.panel.n_invalid,
        "failed": one.panel.n_failed,
        "without this metric": one.panel.n_unmeasured,
    }
    left_out = [f"{count} {word}" for word, count in counts.items() if count]
    return [
        f"{one.panel.name}: {head[0]}",
        *(f"  {line}" for line in head[1:]),
        *(f"  {_limit(constraint, one, slo, unit)}" for constraint in one.constraints),
        *([f"  left out: {', '.join(left_out)} (cells)"] if left_out else []),
    ]


def _chosen(one: Recommendation, unit: str) -> list[str]:
    choice, cost = one.choice, one.cost
    if choice is None or cost is None:
        return []
    name = merged_label([choice.label, *(other.label for other in one.equal)])
    repeats = f"{len(choice.cells)} repeat{'s' if len(choice.cells) > 1 else ''}"
    if cost.low is not None and cost.high is not None:
        same = cost.low == cost.high
        repeats += ", all equal" if same else f", 95 % interval {number(cost.low)} … {number(cost.high)}"
    figures = _figures(choice, one, unit)
    edges = [f"{edge.axis.label(edge.level)} is the {edge.side} tried" for edge in one.edges]
    return [
        f"{name}: {figures} ({repeats}); {_share(choice)} within the limits",
        *([", ".join(edges)] if edges else []),
        _runner_up(one, choice, unit),
        *_fastest(one, choice, unit),
    ]


def _figures(candidate: Candidate, one: Recommendation, unit: str) -> str:
    """Return cost and time: ``130 J/workflow, 7.95 s median workflow time``."""
    if candidate.time_ms is None or one.panel.time_metric is None:
        return quantity(candidate.cost, unit)
    return f"{quantity(candidate.cost, unit)}, {_ms(candidate.time_ms)} {metric_name(one.panel.time_metric)}"


def _against(candidate: Candidate, choice: Candidate, unit: str) -> str:
    """Return cost and time, and their change against the choice: ``135 J/workflow (+4.0 %), 6.89 s (+2.1 %)``."""
    cost = f"{quantity(candidate.cost, unit)} ({percent(candidate.cost, choice.cost)})"
    if candidate.time_ms is None or choice.time_ms is None:
        return cost
    return f"{cost}, {_ms(candidate.time_ms)} ({percent(candidate.time_ms, choice.time_ms)})"


def _runner_up(one: Recommendation, choice: Candidate, unit: str) -> str:
    if one.runner_up is None:
        return "no other setting meets the objective"
    verdict = {
        True: "; the difference is resolved",
        False: "; the difference is not resolved",
        None: "" if one.panel.simulated else "; too few repeats to tell whether that is resolved",
    }[one.resolved]
    name = merged_label([one.runner_up.label, *(other.label for other in one.next_equal)])
    return f"runner-up: {name}: {_against(one.runner_up, choice, unit)}{verdict}"


def _fastest(one: Recommendation, choice: Candidate, unit: str) -> list[str]:
    """Return a line about the fastest setting; none if it is the only one or none has a time."""
    if one.fastest is None or one.runner_up is None:
        return []
    for known, word in ((choice, "choice"), (one.runner_up, "runner-up")):
        if (one.fastest.cost, one.fastest.time_ms) == (known.cost, known.time_ms):
            return [f"fastest within the limits: the {word}"]
    name = merged_label([one.fastest.label, *(other.label for other in one.fastest_equal)])
    return [f"fastest within the limits: {name}: {_against(one.fastest, choice, unit)}"]


def _missed(one: Recommendation, slo: Slo, unit: str) -> list[str]:
    if one.nearest is None:
        return ["no cell to choose from"]
    return [
        "no setting meets the objective",
        f"nearest miss: {one.nearest.label}: {_share(one.nearest)} within the limits, "
        f"{100 * slo.attainment_ratio:g} % wanted; {_figures(one.nearest, one, unit)}",
    ]


def _limit(constraint: Constraint, one: Recommendation, slo: Slo, unit: str) -> str:
    reached = (
        ""
        if constraint.reached_ms is None
        else f" (reached at {100 * slo.attainment_ratio:g} %: {_ms(constraint.reached_ms)})"
    )
    name = f"{_LIMIT_NAMES[constraint.name]} ≤ {_ms(constraint.limit_ms)}{reached}"
    if constraint.relaxed is None:
        return f"{name}: without it nothing meets the others either"
    without = f"{constraint.relaxed.label}, {quantity(constraint.relaxed.cost, unit)}"
    if constraint.price is None or one.choice is None:
        return f"{name}: without it {without}"
    if constraint.price == 0:
        return f"{name}: costs nothing"
    price = f"{quantity(constraint.price, unit)} ({percent(one.choice.cost, constraint.relaxed.cost)})"
    return f"{name}: costs {price}; without it {without}"


def _share(candidate: Candidate) -> str:
    return f"{100 * share(candidate.attainments):.3g} %"


def _ms(value: float | None) -> str:
    return MISSING if value is None else quantity(value, "ms")


@dataclass(frozen=True, slots=True)
class Recommended:
    """The recommendation of a report: a lead sentence, and the lines for each kind of work."""

    lead: str
    answers: tuple[tuple[str, ...], ...]


def recommended(view: SweepView) -> Recommended | None:
    """Return the least energy that meets the objective of the sweep; None without one, or if resumes named several."""
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


def plain(one: Recommendation) -> dict[str, Any]:
    """Return one recommendation as plain data for JSON."""
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
        "time_metric": one.panel.time_metric,
        "fastest": _setting(one.fastest),
        "edges": {edge.axis.key: edge.side for edge in one.edges},
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
        "time_ms": candidate.time_ms,
        "attained": _rounded(share(candidate.attainments)),
    }


def _priced(constraint: Constraint) -> dict[str, Any]:
    relaxed = constraint.relaxed
    return {
        "name": constraint.name,
        "limit": constraint.limit_ms,
        "reached": _rounded(constraint.reached_ms),
        "cost": _rounded(constraint.price),
        "without": None
        if relaxed is None
        else {"label": relaxed.label, "cost": relaxed.cost, "time_ms": relaxed.time_ms},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.9g}")
