"""Task graphs: the workflows of a cell as Ray graphs of role actors, on the node of the cell's engine."""

import asyncio
import graphlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import JoulegridError, as_cell_error
from orchestrator.ray_runtime.actor_calls import ENGINE, RemoteEngine, call_result, lane_monitor
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
"""Options of workflow and role actors; ``max_concurrency`` bounds the steps in flight, where Ray's default is 1000."""


class WorkflowActor:
    """A Ray actor that runs one cell at a time. It keeps its role actors for the next cell, and they end with it."""

    def __init__(self, engine: Any, collector: Any, bundle_index: int = -1) -> None:
        """``engine`` and ``collector`` are actors; role actors go to bundle ``bundle_index`` of this actor's group."""
        self._engine = engine
        self._collector = collector
        self._bundle_index = bundle_index
        self._roles: dict[str, Any] = {}

    async def run(self, cell: Cell, provenance: Mapping[str, str]) -> CellResult | JoulegridError:
        """Return the result or the error: an error is not raised, so that no exception class of the user is pickled."""
        try:
            await self._start_roles(roles_of(cell))
            engine, execute = RemoteEngine(self._engine), RayExecute(self._roles)
            monitor = lane_monitor(cell, self._collector)
            run = await run_phases(cell, engine, MonotonicClock(), execute, monitor, provenance=provenance)
            return result_of(cell, run)
        except (Exception, SystemExit) as raised:  # supervisor: an error ends only this cell
            return as_cell_error(raised)

    async def _start_roles(self, roles: Iterable[str]) -> None:
        """Start the missing role actors, so that none starts while a cell is measured."""
        new = {role: self._role_actor() for role in roles if role not in self._roles}
        ready = (call_result(actor.ready.remote(), _role_name(role)) for role, actor in new.items())
        await asyncio.gather(*ready)
        self._roles |= new

    def _role_actor(self) -> Any:
        import ray

        return ray.remote(RoleActor).options(**ACTOR_OPTIONS, scheduling_strategy=self._strategy()).remote(self._engine)

    def _strategy(self) -> Any:
        """Return the strategy that places an actor in this actor's placement group, or on its node without one."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

        group = ray.util.get_current_placement_group()
        if group is None:
            return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=self._bundle_index)


@dataclass(frozen=True, slots=True)
class _StepRefs:
    """References to the three return values of a step, a `StepReturn`."""

    finish: Any
    output: Any
    span: Any


class RayExecute:
    """Runs workflows on role actors: a `workflows.execute.Execute`."""

    def __init__(self, roles: Mapping[str, Any]) -> None:
        """``roles`` holds the actor of every role."""
        self._roles = roles
        self._step_methods = {role: actor.step.options(num_returns=3) for role, actor in roles.items()}
        self._clock = MonotonicClock()

    async def __call__(self, workflow: Workflow) -> tuple[StepSpan, ...]:
        """Run a workflow; the first error of a step cancels the rest of it and is raised.

        A step without children finishes when its output has arrived here, because that is what a user waits for.

        Raises:
            CellError: the engine refuses a request.
            InfrastructureError: an actor was lost.
        """
        refs = self._submit(workflow)
        try:
            if len(refs) == 1:  # most of a chat load: skip the task group and its second task
                return (await self._span(workflow, workflow.steps[0], refs[workflow.steps[0].name]),)
            async with task_group() as tasks:
                spans = [tasks.create_task(self._span(workflow, step, refs[step.name])) for step in workflow.steps]
            return tuple(span.result() for span in spans)
        finally:
            for role in {step.role for step in workflow.steps if _is_kept(workflow, step)}:
                self._roles[role].forget.remote(workflow.workflow_id)

    def _submit(self, workflow: Workflow) -> dict[str, _StepRefs]:
        calls = calls_of(workflow, self._clock.now_s())
        refs: dict[str, _StepRefs] = {}
        for name in graphlib.TopologicalSorter({step.name: step.parents for step in workflow.steps}).static_order():
            step = workflow.by_name[name]
            parents = (
                refs[parent].output if _needs_output(workflow, parent, step) else refs[parent].finish
                for parent in step.parents
            )
            method = self._step_methods[step.role]
            refs[name] = _StepRefs(*method.remote(calls[name], _is_kept(workflow, step), *parents))
        return refs

    async def _span(self, workflow: Workflow, step: Step, refs: _StepRefs) -> StepSpan:
        span: StepSpan = await call_result(refs.span, _role_name(step.role))
        return span if workflow.children[step.name] else replace(span, finished_s=self._clock.now_s())


def _role_name(role: str) -> str:
    return f"the actor of role {role}"


def _reads(step: Step, parent: str) -> bool:
    return OutputOf(parent) in step.prompt


def _needs_output(workflow: Workflow, parent: str, step: Step) -> bool:
    """Return whether the edge carries tokens: the same role has them already, and a pure dependency needs none."""
    return _reads(step, parent) and workflow.by_name[parent].role != step.role


def _is_kept(workflow: Workflow, step: Step) -> bool:
    """Return whether a later step of the same role reads the output."""
    return any(child.role == step.role and _reads(child, step.name) for child in workflow.children[step.name])


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a child step gets: when the step finished and, if the child is of another role and reads it, its output."""

    finished_s: float
    output: Completion | None = None


StepReturn = tuple[StepResult | JoulegridError, StepResult | JoulegridError, StepSpan | JoulegridError]
"""For children that only wait, for children that read the output, and for the workflow actor: each gets one object."""


class RoleActor:
    """A Ray actor for one role of the cell's workflows, in all workflows at once."""

    def __init__(self, engine: Any) -> None:
        """``engine`` is the actor of the engine that answers this role."""
        self._engine = engine
        self._clock = MonotonicClock()
        self._outputs: defaultdict[str, dict[str, Completion]] = defaultdict(dict)

    async def ready(self) -> None:
        """Return when the actor runs."""

    async def step(self, call: StepCall, keep: bool, *parents: StepResult | JoulegridError) -> StepReturn:
        """Run a step and return its results; errors are returned, those of a parent too.

        Args:
            call: the step to run.
            keep: whether to keep the output for later steps of this role, until `forget`.
            parents: results of the parent steps, in their order.
        """
        try:
            span = await self._run(call, dict(zip(call.step.parents, parents, strict=True)))
        except Exception as raised:  # supervisor: an error ends only this workflow
            error = as_cell_error(raised)
            return error, error, error
        output = replace(span.completion, token_times_s=None)  # only the workflow actor needs them
        if keep:
            self._outputs[call.workflow_id][call.step.name] = output
        return StepResult(span.finished_s), StepResult(span.finished_s, output), span

    async def forget(self, workflow_id: str) -> None:
        """Drop the outputs of a workflow that has ended."""
        self._outputs.pop(workflow_id, None)

    async def _run(self, call: StepCall, parents: Mapping[str, StepResult | JoulegridError]) -> StepSpan:
        results: dict[str, StepResult] = {}
        for name, parent in parents.items():
            if isinstance(parent, JoulegridError):
                raise parent
            results[name] = parent
        request = request_of(call, self._read_outputs(call, results))
        completion: Completion = await call_result(self._engine.generate.remote(request), ENGINE)
        ready_s = max((result.finished_s for result in results.values()), default=call.started_s)
        finished_s = self._clock.now_s()
        return span_of(request, completion, call.step, ready_s=ready_s, finished_s=finished_s)

    def _read_outputs(self, call: StepCall, results: Mapping[str, StepResult]) -> dict[str, Completion]:
        """Return the outputs in the step's prompt, from its parents or from earlier steps of this role."""
        own = self._outputs.get(call.workflow_id, {})
        names = [part.step for part in call.step.prompt if isinstance(part, OutputOf)]
        return {name: results[name].output or own[name] for name in names}
