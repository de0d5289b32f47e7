"""Workflow times from the steps and requests series: arrival, end, and the critical path."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from orchestrator.measure.columns import Columns, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowTimes:
    """One entry a workflow, in order of first appearance. Units: s, shape (workflows,).

    ``answered_s`` is when the engine finished the last request, on the clock that windows are cut by; ``finished_s``
    when that answer was back where the workflow runs, a little later on a real engine. ``critical_path_s`` sums the
    engine's submit-to-finish times along the chain of last-finishing parents.
    """

    arrival_s: Floats
    answered_s: Floats
    finished_s: Floats
    critical_path_s: Floats


def workflow_times(requests: Columns, steps: Columns) -> WorkflowTimes:
    """Times of every workflow that ran."""
    engine = {
        request: (submitted_s, answered_s)
        for request, submitted_s, answered_s in zip(
            *map(requests.values, ("request_id", "submitted_s", "finished_s")), strict=True
        )
    }
    by_workflow: dict[str, dict[str, _Step]] = defaultdict(dict)
    names = ("workflow_id", "step", "request_id", "parents", "arrival_s", "finished_s")
    for workflow, step, request, parents, arrival_s, finished_s in zip(*map(steps.values, names), strict=True):
        by_workflow[workflow][step] = _Step(parents, arrival_s, finished_s, *engine[request])
    rows = [_times(found) for found in by_workflow.values()]
    arrival_s, answered_s, finished_s, critical_s = np.asarray(rows, dtype=np.float64).reshape(-1, 4).T
    return WorkflowTimes(arrival_s=arrival_s, answered_s=answered_s, finished_s=finished_s, critical_path_s=critical_s)


@dataclass(frozen=True, slots=True)
class _Step:
    parents: list[str]
    arrival_s: float
    finished_s: float
    submitted_s: float
    answered_s: float


def _times(steps: dict[str, _Step]) -> tuple[float, float, float, float]:
    last: _Step | None = max(steps.values(), key=lambda step: step.finished_s)
    arrival_s = min(step.arrival_s for step in steps.values())
    answered_s = max(step.answered_s for step in steps.values())
    finished_s = max(step.finished_s for step in steps.values())
    critical_s = 0.0
    while last is not None:
        critical_s += last.answered_s - last.submitted_s
        last = max((steps[name] for name in last.parents), key=lambda step: step.finished_s, default=None)
    return arrival_s, answered_s, finished_s, critical_s
