"""Warm an engine up: run the measured load on workflows that share no content with the measured ones."""

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflows.clock import Clock
from workflows.drive import Drive
from workflows.execute import Execute
from workflows.graph import PromptPart, Shared, Workflow
from workflows.load import ClosedLoad, LoadOptions, PoissonLoad, ReplayLoad, arrivals, workflow_count
from workflows.source import WorkflowSource

_PREFIX = "warm-up"


async def warm_up(
    source: WorkflowSource,
    load: LoadOptions,
    *,
    execute: Execute,
    clock: Clock,
    seed: int,
    n_workflows: int,
    duration_s: float,
) -> int:
    """Start at least ``n_workflows`` for at least ``duration_s``, wait until all have ended, and return their number.

    Args:
        source: built with a seed of its own; a closed loop starts a trace again at its end, a replay does not.
        load: the measured load.
        execute: runs one workflow.
        clock: the clock of the cell.
        seed: for random arrivals.
        n_workflows: minimum number of workflows.
        duration_s: minimum time in which workflows start.

    Raises:
        ValueError: as `workflow_count`.
    """
    n_users = workflow_count(source, load)
    drive = Drive(_Renamed(source), execute, clock)
    if isinstance(load, ClosedLoad):
        end_s = clock.now_s() + duration_s
        indices = itertools.takewhile(lambda index: index < n_workflows or clock.now_s() < end_s, itertools.count())
        await drive.closed(load, indices, min(load.users, n_users))
    else:
        await drive.open(_times_s(source, load, n_workflows, duration_s, seed))
    return len(drive.spans)


def _times_s(
    source: WorkflowSource, load: PoissonLoad | ReplayLoad, n_workflows: int, duration_s: float, seed: int
) -> list[float]:
    """Return the arrivals before ``duration_s``, and at least ``n_workflows`` if a replayed trace has as many."""
    most = len(source.arrivals_s or ()) if isinstance(load, ReplayLoad) else None
    n = max(1, n_workflows)
    while True:
        times_s = arrivals(source, load, n, seed)
        if times_s[-1] >= duration_s or (most is not None and n >= most):
            return times_s[: max(n_workflows, bisect_left(times_s, duration_s))]
        n *= 2


@dataclass(frozen=True, slots=True)
class _Renamed:
    """The workflows of a source under other names, so that they share no content with measured ones."""

    source: WorkflowSource

    @property
    def arrivals_s(self) -> Sequence[float] | None:
        """The arrivals of the source."""
        return self.source.arrivals_s

    def workflow(self, index: int) -> Workflow:
        """Return the source's workflow, from the beginning again after its end."""
        recorded = self.source.arrivals_s
        workflow = self.source.workflow(index if recorded is None else index % len(recorded))
        steps = tuple(replace(step, prompt=tuple(map(_renamed_part, step.prompt))) for step in workflow.steps)
        return replace(workflow, workflow_id=f"{_PREFIX}-{index}-{workflow.workflow_id}", steps=steps)


def _renamed_part(part: PromptPart) -> PromptPart:
    return replace(part, name=f"{_PREFIX}-{part.name}") if isinstance(part, Shared) else part
