"""Bringing work to an engine: closed, random and replayed arrivals of workflows.

Arrivals are absolute: a late start never delays the next one, and ``arrival_s`` is when the workflow was due.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from workflows.clock import Clock, sleep_until
from workflows.execute import Execute, StepSpan
from workflows.graph import Workflow
from workflows.load import ClosedLoad, LoadOptions, PoissonLoad
from workflows.source import WorkflowSource
from workflows.tasks import task_group


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSpan:
    """One workflow that ran. ``arrival_s`` is when it was due; times are seconds on the clock of the cell."""

    workflow_id: str
    tenant: str
    index: int
    arrival_s: float
    steps: tuple[StepSpan, ...]
    finished_s: float


async def drive(
    source: WorkflowSource, load: LoadOptions, *, execute: Execute, clock: Clock, seed: int
) -> tuple[WorkflowSpan, ...]:
    """Run all workflows of a load and return their spans by index.

    The first error of any workflow cancels all others and is raised as it is.

    Raises:
        ValueError: the source does not hold what the load asks for.
    """
    n_workflows = workflow_count(source, load)
    drive = _Drive(source, execute, clock)
    if isinstance(load, ClosedLoad):
        await drive.closed(load, n_workflows)
    elif isinstance(load, PoissonLoad):
        await drive.open(gamma_arrivals(load.request_rate, load.burstiness, n_workflows, seed))
    else:
        arrivals_s = np.asarray(source.arrivals_s, dtype=float)[:n_workflows]
        await drive.open((arrivals_s / load.speedup).tolist())
    return tuple(drive.spans[index] for index in range(n_workflows))


def workflow_count(source: WorkflowSource, load: LoadOptions) -> int:
    """How many workflows a load takes from a source.

    Raises:
        ValueError: a replay of a source without recorded arrivals, or more workflows than a trace holds.
    """
    recorded = source.arrivals_s
    if isinstance(load, ClosedLoad | PoissonLoad):
        if recorded is not None and load.num_workflows > len(recorded):
            raise ValueError(f"load.num_workflows is {load.num_workflows}, but the trace holds {len(recorded)}")
        return load.num_workflows
    if recorded is None:
        raise ValueError("load replay needs recorded arrivals: use workflow=trace_replay, or load closed or poisson")
    return len(recorded) if load.num_workflows is None else min(load.num_workflows, len(recorded))


def gamma_arrivals(rate: float, burstiness: float, n: int, seed: int) -> list[float]:
    """Times of the first ``n`` events from 0 on, at gamma gaps of this shape; shape 1 is Poisson. Units: 1/s, s."""
    gaps_s = np.random.default_rng(seed).gamma(burstiness, 1.0 / (rate * burstiness), size=n)
    times_s: list[float] = np.cumsum(gaps_s).tolist()
    return times_s


@dataclass(slots=True)
class _Drive:
    """The spans so far, and what is needed to make the next."""

    source: WorkflowSource
    execute: Execute
    clock: Clock
    spans: dict[int, WorkflowSpan] = field(default_factory=dict)

    async def closed(self, load: ClosedLoad, n_workflows: int) -> None:
        """Users draw from one counter, each when its last workflow has finished and it has thought."""
        start_s = self.clock.now_s()
        indices = iter(range(n_workflows))

        async def user() -> None:
            due_s = start_s
            for index in indices:
                await self.run(self.source.workflow(index), index, due_s)
                due_s = self.spans[index].finished_s + load.think_time_s
                if load.think_time_s > 0:
                    await sleep_until(self.clock, due_s)

        async with task_group() as tasks:
            for _ in itertools.repeat(None, min(load.users, n_workflows)):
                tasks.create_task(user())

    async def open(self, arrivals_s: Sequence[float]) -> None:
        """Workflows start at their times, whatever became of the ones before."""
        start_s = self.clock.now_s()
        async with task_group() as tasks:
            for index, arrival_s in enumerate(arrivals_s):
                due_s = start_s + arrival_s
                workflow = self.source.workflow(index)  # made before it is due, which is when time is scarce
                if due_s > self.clock.now_s():
                    await sleep_until(self.clock, due_s)
                tasks.create_task(self.run(workflow, index, due_s))

    async def run(self, workflow: Workflow, index: int, due_s: float) -> None:
        """Run one workflow to its end."""
        steps = await self.execute(workflow)
        self.spans[index] = WorkflowSpan(
            workflow_id=workflow.workflow_id,
            tenant=workflow.tenant,
            index=index,
            arrival_s=due_s,
            steps=steps,
            finished_s=self.clock.now_s(),
        )
