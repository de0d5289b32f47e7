"""Bringing work to an engine: closed, random and replayed arrivals of workflows.

Arrivals are absolute: a late start never delays the next one, and ``arrival_s`` is when the workflow was due.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from workflows.clock import Clock, sleep_until
from workflows.execute import Execute, StepSpan
from workflows.graph import Workflow
from workflows.load import ClosedLoad, LoadOptions, PoissonLoad, ReplayLoad
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How far a load goes beyond the workflows it names: as many new ones again, until it is enough.

    ``closed`` is asked whenever the workflows of a closed loop are used up: of those that have finished, and how many
    are running. ``open`` is asked before an open loop begins: of the ascending times of its arrivals, in seconds. The
    load is run ``max_repetitions`` times at most, and as many whole times as a trace holds it.
    """

    max_repetitions: int
    closed: Callable[[Collection[WorkflowSpan], int], bool]
    open: Callable[[Sequence[float]], bool]


AS_ASKED = Extent(max_repetitions=1, closed=lambda spans, n_running: True, open=lambda arrivals_s: True)
"""The load as it is, once."""


async def drive(
    source: WorkflowSource,
    load: LoadOptions,
    *,
    execute: Execute,
    clock: Clock,
    seed: int,
    extent: Extent = AS_ASKED,
) -> tuple[WorkflowSpan, ...]:
    """Run all workflows of a load, as often as ``extent`` says, and return their spans by index.

    The first error of any workflow cancels all others and is raised as it is.

    Raises:
        ValueError: the source does not hold what the load asks for.
    """
    n_workflows = workflow_count(source, load)
    most = max_workflows(source, load, extent.max_repetitions)
    drive = Drive(source, execute, clock)
    if isinstance(load, ClosedLoad):
        await drive.closed(load, drive.indices(n_workflows, most, extent), min(load.users, n_workflows))
    else:
        times_s = arrivals(source, load, most, seed)
        ends = range(n_workflows, most, max(1, n_workflows))
        await drive.open(times_s[: next((end for end in ends if extent.open(times_s[:end])), most)])
    return tuple(drive.spans[index] for index in range(len(drive.spans)))


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


def max_workflows(source: WorkflowSource, load: LoadOptions, max_repetitions: int) -> int:
    """How many workflows a load takes at most where it may be repeated: as many whole times as a trace holds it.

    Raises:
        ValueError: as `workflow_count`.
    """
    n_workflows, recorded = workflow_count(source, load), source.arrivals_s
    times = max_repetitions if recorded is None else min(max_repetitions, len(recorded) // max(1, n_workflows))
    return n_workflows * times


def arrivals(source: WorkflowSource, load: PoissonLoad | ReplayLoad, n: int, seed: int) -> list[float]:
    """When the first ``n`` workflows of an open loop are due, ascending; more of them begin with fewer. Units: s."""
    if isinstance(load, PoissonLoad):
        return gamma_arrivals(load.request_rate, load.burstiness, n, seed)
    times_s: list[float] = (np.asarray(source.arrivals_s, dtype=float)[:n] / load.speedup).tolist()
    return times_s


def gamma_arrivals(rate: float, burstiness: float, n: int, seed: int) -> list[float]:
    """Times of the first ``n`` events from 0 on, at gamma gaps of this shape; shape 1 is Poisson. Units: 1/s, s."""
    gaps_s = np.random.default_rng(seed).gamma(burstiness, 1.0 / (rate * burstiness), size=n)
    times_s: list[float] = np.cumsum(gaps_s).tolist()
    return times_s


@dataclass(slots=True)
class Drive:
    """The spans so far, and what is needed to make the next."""

    source: WorkflowSource
    execute: Execute
    clock: Clock
    spans: dict[int, WorkflowSpan] = field(default_factory=dict)
    n_running: int = 0

    def indices(self, n_workflows: int, most: int, extent: Extent) -> Iterator[int]:
        """The workflows of a closed loop, as they are asked for."""
        for begin in range(0, most, n_workflows):
            if begin and extent.closed(self.spans.values(), self.n_running):
                return
            yield from range(begin, begin + n_workflows)

    async def closed(self, load: ClosedLoad, indices: Iterator[int], n_users: int) -> None:
        """Users draw from one counter, each when its last workflow has finished and it has thought."""
        start_s = self.clock.now_s()

        async def user() -> None:
            due_s = start_s
            for index in indices:
                await self.run(self.source.workflow(index), index, due_s)
                due_s = self.spans[index].finished_s + load.think_time_s
                if load.think_time_s > 0:
                    await sleep_until(self.clock, due_s)

        async with task_group() as tasks:
            for _ in itertools.repeat(None, n_users):
                tasks.create_task(user())

    async def open(self, arrivals_s: Iterable[float]) -> None:
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
        self.n_running += 1
        steps = await self.execute(workflow)
        self.n_running -= 1
        self.spans[index] = WorkflowSpan(
            workflow_id=workflow.workflow_id,
            tenant=workflow.tenant,
            index=index,
            arrival_s=due_s,
            steps=steps,
            finished_s=self.clock.now_s(),
        )
