"""Run one workflow: every step starts as soon as its last parent has finished."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from workflows.clock import Clock
from workflows.graph import OutputOf, PromptPart, Shared, Step, Workflow, remaining_tokens
from workflows.request import Completion, Generate, Request, Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpan:
    """One step that ran. ``parents`` are step names. Times are seconds on the clock of the cell.

    ``ready_s`` is when the last parent had finished (or the workflow began), ``finished_s`` when the step's output had
    arrived here. Both include orchestration, which the times of ``completion`` do not.
    """

    step: str
    role: str
    request_id: str
    parents: tuple[str, ...]
    prompt_tokens: int
    ready_s: float
    finished_s: float
    completion: Completion


Execute = Callable[[Workflow], Awaitable[tuple[StepSpan, ...]]]
"""Runs a workflow to its end; the spans come in the order of its steps."""


async def execute(workflow: Workflow, *, generate: Generate, clock: Clock) -> tuple[StepSpan, ...]:
    """Run a workflow on an engine; the spans come in the order of its steps.

    The first error of a step cancels the rest of the workflow and is raised unchanged.
    """
    run = _Run(workflow, generate, clock)
    if len(workflow.steps) == 1:  # most of a chat load: no task group, no second task
        await run.step(workflow.steps[0], None)
    else:
        async with task_group() as tasks:
            for step in workflow.steps:
                if not step.parents:
                    tasks.create_task(run.step(step, tasks))
    return tuple(run.spans[step.name] for step in workflow.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCall:
    """A step with all that its request needs from its workflow.

    ``started_s`` is when the workflow began; ``remaining_tokens`` as in `workflows.graph.remaining_tokens`.
    """

    workflow_id: str
    tenant: str
    priority: int
    step: Step
    started_s: float
    remaining_tokens: int

    @property
    def request_id(self) -> str:
        """Unique in a cell; also names the content of the step's output."""
        return f"{self.workflow_id}/{self.step.name}"


def calls_of(workflow: Workflow, started_s: float) -> dict[str, StepCall]:
    """Return the call of every step of a workflow that began at ``started_s``, by the step's name."""
    remaining = remaining_tokens(workflow)
    return {
        step.name: StepCall(
            workflow_id=workflow.workflow_id,
            tenant=workflow.tenant,
            priority=workflow.priority,
            step=step,
            started_s=started_s,
            remaining_tokens=remaining[step.name],
        )
        for step in workflow.steps
    }


def request_of(call: StepCall, outputs: Mapping[str, Completion]) -> Request:
    """Return the request of a step; ``outputs`` holds the completions of the steps it reads, by their names.

    Content ids are ``shared:<name>`` and ``<workflow_id>:<name>``. The output of a step has its request id,
    ``<workflow_id>/<step>``, so that no part can be confused with the output of a step of the same name.
    """
    segments = (_segment(call.workflow_id, part, outputs) for part in call.step.prompt)
    return Request(
        request_id=call.request_id,
        workflow_id=call.workflow_id,
        tenant=call.tenant,
        step=call.step.name,
        role=call.step.role,
        prompt=tuple(segment for segment in segments if segment.n_tokens > 0),
        output_tokens=call.step.output_tokens,
        priority=call.priority,
        workflow_started_s=call.started_s,
        remaining_tokens=call.remaining_tokens,
    )


def span_of(request: Request, completion: Completion, step: Step, *, ready_s: float, finished_s: float) -> StepSpan:
    """Return the span of a step from its request and completion."""
    return StepSpan(
        step=step.name,
        role=step.role,
        request_id=request.request_id,
        parents=step.parents,
        prompt_tokens=request.prompt_tokens,
        ready_s=ready_s,
        finished_s=finished_s,
        completion=completion,
    )


def _segment(workflow_id: str, part: PromptPart, outputs: Mapping[str, Completion]) -> Segment:
    if isinstance(part, OutputOf):
        output = outputs[part.step]
        return Segment(f"{workflow_id}/{part.step}", output.output_tokens, output.token_ids, output.text)
    if isinstance(part, Shared):
        return Segment(f"shared:{part.name}", part.n_tokens)
    return Segment(f"{workflow_id}:{part.name}", part.n_tokens, part.token_ids, part.text)


@dataclass(slots=True)
class _Run:
    """A workflow that runs; ``missing`` counts the unfinished parents of each step."""

    workflow: Workflow
    generate: Generate
    clock: Clock
    spans: dict[str, StepSpan] = field(default_factory=dict)
    outputs: dict[str, Completion] = field(default_factory=dict)
    missing: dict[str, int] = field(init=False)
    calls: dict[str, StepCall] = field(init=False)

    def __post_init__(self) -> None:
        self.calls = calls_of(self.workflow, self.clock.now_s())
        self.missing = {step.name: len(step.parents) for step in self.workflow.steps}

    async def step(self, step: Step, tasks: asyncio.TaskGroup | None) -> None:
        """Run a step, then start the children whose last parent it was."""
        ready_s = self.clock.now_s()
        request = request_of(self.calls[step.name], self.outputs)
        completion = await self.generate(request)
        self.outputs[step.name] = completion
        finished_s = self.clock.now_s()
        self.spans[step.name] = span_of(request, completion, step, ready_s=ready_s, finished_s=finished_s)
        for child in self.workflow.children[step.name]:
            self.missing[child.name] -= 1
            if self.missing[child.name] == 0 and tasks is not None:
                tasks.create_task(self.step(child, tasks))


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Open an `asyncio.TaskGroup` that raises the first error itself and adds the others to it as notes."""
    failed: BaseExceptionGroup[BaseException] | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        failed = group
    if failed is not None:  # outside the handler, so that the error keeps its own cause and context
        first, *others = failed.exceptions
        for other in others:
            first.add_note(f"at the same time: {other!r}")
        raise first
