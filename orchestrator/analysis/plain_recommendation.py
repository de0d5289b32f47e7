"""A recommendation as plain data, for the line that scripts read."""

from typing import Any

from orchestrator.analysis.candidates import Candidate
from orchestrator.analysis.objective import share
from orchestrator.analysis.recommendation import Constraint, Recommendation


def plain(one: Recommendation) -> dict[str, Any]:
    """One kind of work: choice, interval and edges, the runner-up, the fastest, the limits, what was left out."""
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
