"""The actor that runs a cell as Ray task graphs, on the node of its engine."""

import asyncio
import graphlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import JoulegridError, as_cell_error
from orchestrator.ray_runtime.actor_calls import ENGINE, RemoteEngine, answer, monitor_in_lane
from orchestrator.records.record import CellResult
from orchestrator.runner.phases import run_phases
from orchestrator.runner.result import result_of
from orchestrator.spec.cell import Cell
from orchestrator.spec.workload import roles_of
from workflows.clock import MonotonicClock
from workflows.execute import StepCall, StepSpan, calls_of, request_of, span_of, task_group
from workflows.graph import OutputOf, Step, Workflow
from workflows.request import Completion

ACTOR_OPTIONS = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 10_000}
"""Of conductors and role actors; ``max_concurrency`` bounds steps in flight, where Ray's own bound is 1000."""


class Conductor:
    """Runs one cell at a time; it keeps its role actors for the next, and they end with it."""

    def __init__(self, engine: Any, collector: Any, bundle_index: int = -1) -> None:
        """Actors of the engine and the collector, and the bundle of the conductor's own group where role actors go."""
        self._engine = engine
        self._collector = collector
        self._bundle_index = bundle_index
        self._roles: dict[str, Any] = {}

    async def run(self, cell: Cell, provenance: Mapping[str, str]) -> CellResult | JoulegridError:
        """The result, or why there is none: returned, not raised, so that no class of the user's is pickled."""
        try:
            await self._cast(roles_of(cell))
            engine, execute = RemoteEngine(self._engine), RayExecute(self._roles)
            monitor = monitor_in_lane(cell, self._collector)
            run = await run_phases(cell, engine, MonotonicClock(), execute, monitor, provenance=provenance)
            return result_of(cell, run)
        except (Exception, SystemExit) as raised:  # the conductor is a supervisor: a cell ends alone
            return as_cell_error(raised)

    async def _cast(self, roles: Iterable[str]) -> None:
        """Have an actor of every role, running: none starts while a cell is measured."""
        new = {role: self._role_actor() for role in roles if role not in self._roles}
        ready = (answer(actor.ready.remote(), f"the actor of role {role}") for role, actor in new.items())
        await asyncio.gather(*ready)
        self._roles |= new

    def _role_actor(self) -> Any:
        import ray

        return ray.remote(RoleActor).options(**ACTOR_OPTIONS, scheduling_strategy=self._here()).remote(self._engine)

    def _here(self) -> Any:
        """The conductor's own bundle; its own node where it is in none."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

        group = ray.util.get_current_placement_group()
        if group is None:
            return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=self._bundle_index)


@dataclass(frozen=True, slots=True)
class _Refs:
    """The three returns of a step (`orchestrator.ray_runtime.task_graph.StepAnswer`)."""

    waited: Any
    read: Any
    span: Any


class RayExecute:
    """Runs workflows on role actors: a `workflows.execute.Execute`."""

    def __init__(self, roles: Mapping[str, Any]) -> None:
        """``roles`` holds the actor of every role."""
        self._roles = roles
        self._calling = {role: actor.step.options(num_returns=3) for role, actor in roles.items()}
        self._clock = MonotonicClock()

    async def __call__(self, workflow: Workflow) -> tuple[StepSpan, ...]:
        """Run a workflow; the first error of a step cancels the rest of it and is raised.

        A step that nothing waits for is finished when its output is here: that is what a user waits for.

        Raises:
            CellError: the engine refuses a request.
            InfrastructureError: an actor was lost.
        """
        refs = self._submit(workflow)
        try:
            if len(refs) == 1:  # most of a chat load: no task group, no second task
                return (await self._span(workflow, workflow.steps[0], refs[workflow.steps[0].name]),)
            async with task_group() as tasks:
                spans = [tasks.create_task(self._span(workflow, step, refs[step.name])) for step in workflow.steps]
            return tuple(span.result() for span in spans)
        finally:
            for role in {step.role for step in workflow.steps if _is_kept(workflow, step)}:
                self._roles[role].forget.remote(workflow.workflow_id)

    def _submit(self, workflow: Workflow) -> dict[str, _Refs]:
        calls = calls_of(workflow, self._clock.now_s())
        refs: dict[str, _Refs] = {}
        for name in graphlib.TopologicalSorter({step.name: step.parents for step in workflow.steps}).static_order():
            step = workflow.by_name[name]
            told = (
                refs[parent].read if _travels(workflow, parent, step) else refs[parent].waited
                for parent in step.parents
            )
            refs[name] = _Refs(*self._calling[step.role].remote(calls[name], _is_kept(workflow, step), *told))
        return refs

    async def _span(self, workflow: Workflow, step: Step, refs: _Refs) -> StepSpan:
        span: StepSpan = await answer(refs.span, f"the actor of role {step.role}")
        return span if workflow.children[step.name] else replace(span, finished_s=self._clock.now_s())


def _reads(step: Step, parent: str) -> bool:
    return OutputOf(parent) in step.prompt


def _travels(workflow: Workflow, parent: str, step: Step) -> bool:
    """Whether tokens go along the edge: a role has its own at hand, and a barrier needs none."""
    return _reads(step, parent) and workflow.by_name[parent].role != step.role


def _is_kept(workflow: Workflow, step: Step) -> bool:
    """Whether a later step of the same role reads the output."""
    return any(child.role == step.role and _reads(child, step.name) for child in workflow.children[step.name])


@dataclass(frozen=True, slots=True)
class Told:
    """What a step tells a step that waits for it: when it finished, and, to one of another role, its output."""

    finished_s: float
    output: Completion | None = None


StepAnswer = tuple[Told | JoulegridError, Told | JoulegridError, StepSpan | JoulegridError]
"""For those that only wait, for those that read, for the conductor: three objects, so that each gets no more."""


class RoleActor:
    """One agent of a lane, in all workflows at once; made a Ray actor by the conductor."""

    def __init__(self, engine: Any) -> None:
        """``engine`` is the actor of the engine that answers this role."""
        self._engine = engine
        self._clock = MonotonicClock()
        self._said: defaultdict[str, dict[str, Completion]] = defaultdict(dict)

    async def ready(self) -> None:
        """Answered once the actor runs."""

    async def step(self, call: StepCall, keep: bool, *parents: Told | JoulegridError) -> StepAnswer:
        """Run a step whose parents, in their order, have told this; errors are returned, a parent's too.

        ``keep`` remembers the output, for later steps of this role, until `forget`.
        """
        try:
            span = await self._run(call, dict(zip(call.step.parents, parents, strict=True)))
        except Exception as raised:  # the actor is a supervisor: a workflow ends alone
            error = as_cell_error(raised)
            return error, error, error
        said = replace(span.completion, token_times_s=None)  # only the conductor keeps them
        if keep:
            self._said[call.workflow_id][call.step.name] = said
        return Told(span.finished_s), Told(span.finished_s, said), span

    async def forget(self, workflow_id: str) -> None:
        """Drop what was said in a workflow that has ended."""
        self._said.pop(workflow_id, None)

    async def _run(self, call: StepCall, parents: Mapping[str, Told | JoulegridError]) -> StepSpan:
        told: dict[str, Told] = {}
        for name, parent in parents.items():
            if isinstance(parent, JoulegridError):
                raise parent
            told[name] = parent
        request = request_of(call, self._outputs(call, told))
        completion: Completion = await answer(self._engine.generate.remote(request), ENGINE)
        ready_s = max((parent.finished_s for parent in told.values()), default=call.started_s)
        finished_s = self._clock.now_s()
        return span_of(request, completion, call.step, ready_s=ready_s, finished_s=finished_s)

    def _outputs(self, call: StepCall, told: Mapping[str, Told]) -> dict[str, Completion]:
        """What the step reads: as it was told, or as this role said it itself."""
        said = self._said.get(call.workflow_id, {})
        read = [part.step for part in call.step.prompt if isinstance(part, OutputOf)]
        return {name: told[name].output or said[name] for name in read}
