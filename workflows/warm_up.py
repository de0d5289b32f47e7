"""Work before the work that is measured: the same load, on workflows that share nothing with those that follow."""

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflows.clock import Clock
from workflows.drive import Drive, arrivals, workflow_count
from workflows.execute import Execute
from workflows.graph import PromptPart, Shared, Workflow
from workflows.load import ClosedLoad, LoadOptions, PoissonLoad, ReplayLoad
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
    """Begin workflows until there were ``n_workflows`` and ``duration_s`` has passed, and let all of them end.

    Args:
        source: made with a seed of its own; a trace begins anew where it ends, a replay of it does not.
        load: what the measured work will come by.
        execute: runs one workflow.
        clock: the cell's.
        seed: of random arrivals.
        n_workflows: at least so many.
        duration_s: at least so long.

    Returns:
        How many workflows were run.

    Raises:
        ValueError: the source does not hold what the load asks for.
    """
    n_users = workflow_count(source, load)
    drive = Drive(_Apart(source), execute, clock)
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
    """The arrivals before ``duration_s``, and at least ``n_workflows`` where a replayed trace has as many."""
    most = len(source.arrivals_s or ()) if isinstance(load, ReplayLoad) else None
    n = max(1, n_workflows)
    while True:
        times_s = arrivals(source, load, n, seed)
        if times_s[-1] >= duration_s or (most is not None and n >= most):
            return times_s[: max(n_workflows, bisect_left(times_s, duration_s))]
        n *= 2


@dataclass(frozen=True, slots=True)
class _Apart:
    """The workflows of a source under other names: no content they are made of has the name of a measured one."""

    source: WorkflowSource

    @property
    def arrivals_s(self) -> Sequence[float] | None:
        """Those of the source."""
        return self.source.arrivals_s

    def workflow(self, index: int) -> Workflow:
        """The source's, from its beginning again where it ends."""
        recorded = self.source.arrivals_s
        found = self.source.workflow(index if recorded is None else index % len(recorded))
        steps = tuple(replace(step, prompt=tuple(map(_renamed, step.prompt))) for step in found.steps)
        return replace(found, workflow_id=f"{_PREFIX}-{index}-{found.workflow_id}", steps=steps)


def _renamed(part: PromptPart) -> PromptPart:
    return replace(part, name=f"{_PREFIX}-{part.name}") if isinstance(part, Shared) else part
