"""What a cell asks of its model, summed up before anything starts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator import plugins
from orchestrator.errors import UserError
from orchestrator.spec.cell import Cell
from workflows.drive import max_workflows
from workflows.graph import OutputOf, PromptPart, Shared, Step, Workflow
from workflows.load import ReplayLoad
from workflows.source import WorkflowSource, max_context_tokens

_SAMPLED_WORKFLOWS = 500
"""Sums over more workflows than this are scaled up from the first ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sums over all workflows of a cell.

    ``new_prompt_tokens`` leaves out prefixes that an earlier request has; ``width`` is how many steps of a workflow
    are in flight on average, by output tokens; ``span_s`` the time arrivals take, 0 in a closed loop. Units: s.
    """

    n_workflows: int
    n_requests: float
    prompt_tokens: float
    new_prompt_tokens: float
    output_tokens: float
    width: float
    span_s: float


def source_of(cell: Cell) -> tuple[WorkflowSource, int]:
    """The workflows of a cell and how many of them its load runs.

    Raises:
        UserError: the workload cannot be built, or a replay has no recorded arrivals.
    """
    with workload_faults(cell):
        build = plugins.part("workflows.library", cell.workflow.kind, "build")
        source = build(cell.workflow, seed=cell.workload_seed)
        return source, _count(cell, source)


def source_at_most(cell: Cell) -> tuple[WorkflowSource, int]:
    """The workflows of a cell and how many of them its load runs where it is repeated to fill the window.

    Raises:
        UserError: as `source_of`.
    """
    source, _ = source_of(cell)
    with workload_faults(cell):
        return source, max_workflows(source, cell.load, cell.protocol.max_repetitions)


def roles_of(cell: Cell) -> tuple[str, ...]:
    """The roles of all that a cell may run, its warm-up too.

    Raises:
        UserError: as `source_of`.
    """
    source, most = source_at_most(cell)
    with workload_faults(cell):
        roles = max_context_tokens(source, most)
        if cell.protocol.warms_up:
            build = plugins.part("workflows.library", cell.workflow.kind, "build")
            roles |= max_context_tokens(build(cell.workflow, seed=cell.warmup_seed), most)
    return tuple(roles)


@contextmanager
def workload_faults(cell: Cell) -> Iterator[None]:
    """Tell what the cell's workflow raises in this block as the user's error.

    Raises:
        UserError: what a workflow refuses (a `ValueError` or `OSError`) in its own words, anything else with its place.
    """
    kind = cell.workflow.kind
    with plugins.blamed(kind):
        try:
            yield
        except (ValueError, OSError) as error:
            raise UserError(f"workflow {kind}: {' '.join(str(error).split())}") from error


def workload_of(cell: Cell) -> Workload:
    """The sums of a cell's workload; errors as in `source_of`."""
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


def _count(cell: Cell, source: WorkflowSource) -> int:
    load, arrivals_s = cell.load, source.arrivals_s
    if not isinstance(load, ReplayLoad):
        return load.num_workflows
    if arrivals_s is None:
        raise UserError(
            f"load.kind=replay: workflow {cell.workflow.kind} has no recorded arrivals; "
            "choose a trace workflow, or load=poisson or load=closed"
        )
    return len(arrivals_s) if load.num_workflows is None else min(load.num_workflows, len(arrivals_s))


def _span_s(cell: Cell, source: WorkflowSource, n_workflows: int) -> float:
    if cell.load.kind == "poisson":
        return n_workflows / cell.load.request_rate
    if cell.load.kind == "replay" and source.arrivals_s is not None:
        return source.arrivals_s[n_workflows - 1] / cell.load.speedup
    return 0.0


def _critical_output_tokens(workflow: Workflow) -> int:
    """Output tokens along the longest path."""
    longest: dict[str, int] = {}

    def until(step: Step) -> int:
        if step.name not in longest:
            before = max((until(workflow.by_name[parent]) for parent in step.parents), default=0)
            longest[step.name] = before + step.output_tokens
        return longest[step.name]

    return max(until(step) for step in workflow.steps)


def _new_prompt_tokens(workflows: list[Workflow]) -> Iterator[int]:
    """Prompt tokens of each step from its first part that no earlier prompt has at the same place."""
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
    """Equal keys are equal workloads."""
    plain = cell.canonical()
    repetitions = cell.protocol.max_repetitions
    return json.dumps([plain["workflow"], plain["load"], cell.workload_seed, repetitions], sort_keys=True)
