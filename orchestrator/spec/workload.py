"""The workload of a cell: its source of workflows, and sums over it that are known before anything starts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator import plugins
from orchestrator.errors import UserError
from orchestrator.spec.cell import Cell
from workflows.graph import OutputOf, PromptPart, Shared, Step, Workflow
from workflows.load import max_workflows, workflow_count
from workflows.source import WorkflowSource, max_context_tokens

_SAMPLED_WORKFLOWS = 500
"""Sums over more workflows than this are extrapolated from the first ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sums over all workflows of a cell.

    ``new_prompt_tokens`` excludes prefixes of earlier requests. ``width`` is the mean number of steps of a workflow in
    flight, weighted by output tokens; ``span_s`` the time from first to last arrival, 0 in a closed loop.
    """

    n_workflows: int
    n_requests: float
    prompt_tokens: float
    new_prompt_tokens: float
    output_tokens: float
    width: float
    span_s: float


def source_of(cell: Cell) -> tuple[WorkflowSource, int]:
    """Return the workflows of a cell and how many of them its load runs.

    Raises:
        UserError: The workload cannot be built, or the load does not fit it.
    """
    with workflow_errors(cell):
        source = build_source(cell, cell.workload_seed)
        return source, workflow_count(source, cell.load)


def build_source(cell: Cell, seed: int) -> WorkflowSource:
    """Build the workflows of a cell; errors are those of the plug-in."""
    build = plugins.part("workflows.library", cell.workflow.kind, "build")
    source: WorkflowSource = build(cell.workflow, seed=seed)
    return source


def source_at_most(cell: Cell) -> tuple[WorkflowSource, int]:
    """Return the workflows of a cell and how many run at most if the load is repeated to fill the window.

    Raises:
        UserError: As for `source_of`.
    """
    with workflow_errors(cell):
        source = build_source(cell, cell.workload_seed)
        return source, max_workflows(source, cell.load, cell.protocol.max_repetitions)


def roles_of(cell: Cell) -> tuple[str, ...]:
    """Return the roles of all workflows that a cell may run, its warm-up included.

    Raises:
        UserError: As for `source_of`.
    """
    source, most = source_at_most(cell)
    with workflow_errors(cell):
        roles = max_context_tokens(source, most)
        if cell.protocol.warms_up:
            roles |= max_context_tokens(build_source(cell, cell.warmup_seed), most)
    return tuple(roles)


@contextmanager
def workflow_errors(cell: Cell) -> Iterator[None]:
    """Raise any error of the cell's workflow in this block as a `UserError`.

    Raises:
        UserError: With the message of a `ValueError` or `OSError`; for any other error, also with its place.
    """
    kind = cell.workflow.kind
    with plugins.user_errors(kind):
        try:
            yield
        except (ValueError, OSError) as error:
            raise UserError(f"workflow {kind}: {' '.join(str(error).split())}") from error


def workload_of(cell: Cell) -> Workload:
    """Return the sums of a cell's workload; errors are those of `source_of`."""
    source, n_workflows = source_of(cell)
    n_sampled = min(n_workflows, _SAMPLED_WORKFLOWS)
    workflows = [source.workflow(index) for index in range(n_sampled)]
    steps = [step for workflow in workflows for step in workflow.steps]
    output_tokens = sum(step.output_tokens for step in steps)
    critical = sum(_critical_output_tokens(workflow) for workflow in workflows)
    scale = n_workflows / n_sampled
    return Workload(
        n_workflows=n_workflows,
        n_requests=len(steps) * scale,
        prompt_tokens=sum(w.context_tokens(step) - step.output_tokens for w in workflows for step in w.steps) * scale,
        new_prompt_tokens=sum(_new_prompt_tokens(workflows)) * scale,
        output_tokens=output_tokens * scale,
        width=output_tokens / critical,
        span_s=_span_s(cell, source, n_workflows),
    )


def _span_s(cell: Cell, source: WorkflowSource, n_workflows: int) -> float:
    if cell.load.kind == "poisson":
        return n_workflows / cell.load.request_rate
    if cell.load.kind == "replay" and source.arrivals_s is not None:
        return source.arrivals_s[n_workflows - 1] / cell.load.speedup
    return 0.0


def _critical_output_tokens(workflow: Workflow) -> int:
    """Return the output tokens along the longest path."""
    longest: dict[str, int] = {}

    def until(step: Step) -> int:
        if step.name not in longest:
            before = max((until(workflow.by_name[parent]) for parent in step.parents), default=0)
            longest[step.name] = before + step.output_tokens
        return longest[step.name]

    return max(until(step) for step in workflow.steps)


def _new_prompt_tokens(workflows: list[Workflow]) -> Iterator[int]:
    """Yield the prompt tokens of each step that are in no prefix of an earlier prompt."""
    seen: set[tuple[str, ...]] = set()
    for workflow in workflows:
        for step in workflow.steps:
            prefix: tuple[str, ...] = ()
            new = 0
            for part in step.prompt:
                prefix = (*prefix, _content(part, workflow.workflow_id))
                if prefix not in seen:
                    seen.add(prefix)
                    new += workflow.by_name[part.step].output_tokens if isinstance(part, OutputOf) else part.n_tokens
            yield new


def _content(part: PromptPart, workflow_id: str) -> str:
    if isinstance(part, Shared):
        return f"shared {part.name} {part.n_tokens}"
    if isinstance(part, OutputOf):
        return f"{workflow_id} output {part.step}"
    return f"{workflow_id} unique {part.name} {part.n_tokens}"


def workload_key(cell: Cell) -> str:
    """Return a key that is equal for equal workloads."""
    plain = cell.canonical()
    repetitions = cell.protocol.max_repetitions
    return json.dumps([plain["workflow"], plain["load"], cell.workload_seed, repetitions], sort_keys=True)
