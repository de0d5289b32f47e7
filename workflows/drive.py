"""Run the workflows of a load on an engine: a closed loop, or an open one at random or recorded arrivals.

Arrival times are absolute: a late start never delays the next one.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from workflows.clock import Clock, sleep_until
from workflows.execute import Execute, StepSpan, task_group
from workflows.graph import Workflow
from workflows.load import ClosedLoad, LoadOptions, arrivals, max_workflows, workflow_count
from workflows.source import WorkflowSource


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSpan:
    """One workflow that ran. ``arrival_s`` is when it was due. Times are seconds on the clock of the cell."""

    workflow_id: str
    tenant: str
    index: int
    arrival_s: float
    steps: tuple[StepSpan, ...]
    finished_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How often a load is repeated, with new workflows each time: until the run is long enough.

    ``closed`` is called whenever the workflows of a closed loop are used up, with the finished workflows and the number
    of running ones; ``open`` before an open loop begins, with the ascending times of its arrivals in seconds. Both
    return whether that is enough. The load runs at most ``max_repetitions`` times; a trace bounds it to whole times.
    """

    max_repetitions: int
    closed: Callable[[Collection[WorkflowSpan], int], bool]
    open: Callable[[Sequence[float]], bool]


ONCE = Extent(max_repetitions=1, closed=lambda spans, n_running: True, open=lambda arrivals_s: True)
"""The load without repetition."""


async def drive(
    source: WorkflowSource,
    load: LoadOptions,
    *,
    execute: Execute,
    clock: Clock,
    seed: int,
    extent: Extent = ONCE,
) -> tuple[WorkflowSpan, ...]:
    """Run all workflows of a load, as often as ``extent`` says, and return their spans by index.

    The first error of any workflow cancels all others and is raised unchanged.

    Raises:
        ValueError: as `workflow_count`.
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


@dataclass(slots=True)
class Drive:
    """A run in progress: the spans of finished workflows by index, and what the next ones need."""

    source: WorkflowSource
    execute: Execute
    clock: Clock
    spans: dict[int, WorkflowSpan] = field(default_factory=dict)
    n_running: int = 0

    def indices(self, n_workflows: int, most: int, extent: Extent) -> Iterator[int]:
        """Yield the indices of a closed loop, one repetition after the other, until ``extent`` ends it."""
        for begin in range(0, most, n_workflows):
            if begin and extent.closed(self.spans.values(), self.n_running):
                return
            yield from range(begin, begin + n_workflows)

    async def closed(self, load: ClosedLoad, indices: Iterator[int], n_users: int) -> None:
        """Run a closed loop: each user takes the next index once its last workflow and its think time have ended."""
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
        """Run an open loop: workflows start at their times, whether or not earlier ones have finished."""
        start_s = self.clock.now_s()
        async with task_group() as tasks:
            for index, arrival_s in enumerate(arrivals_s):
                due_s = start_s + arrival_s
                workflow = self.source.workflow(index)  # built before it is due, so that it starts on time
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
