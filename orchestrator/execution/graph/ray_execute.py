"""A workflow as a graph of calls on role actors: all submitted at once, each with its parents' ObjectRefs."""

import graphlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.execution.graph.answer import answer
from workflows.clock import MonotonicClock
from workflows.execute import StepSpan, calls_of
from workflows.graph import OutputOf, Step, Workflow
from workflows.tasks import task_group


@dataclass(frozen=True, slots=True)
class _Refs:
    """The three returns of a step (`orchestrator.execution.graph.role.StepAnswer`)."""

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
