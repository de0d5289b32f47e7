"""A workflow as a graph: steps that call a model, each after the steps whose output it reads.

The graph holds no engine and no clock; `workflows.execute` runs it.
"""

import graphlib
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Shared:
    """Prompt tokens that all workflows of a cell share, such as a system prompt."""

    name: str
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Unique:
    """Prompt tokens that belong to this workflow; equal names within a workflow are equal tokens.

    ``token_ids`` or ``text`` hold them where they are known: from a file of requests.
    """

    name: str
    n_tokens: int
    token_ids: tuple[int, ...] | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OutputOf:
    """The tokens that an earlier step of this workflow generated; that step becomes a parent."""

    step: str


PromptPart = Shared | Unique | OutputOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of the model inside a workflow; ``role`` is the agent that makes it.

    ``after`` is a barrier: names of steps that must finish first although their output is not read.
    """

    name: str
    role: str
    prompt: tuple[PromptPart, ...]
    output_tokens: int
    after: tuple[str, ...] = ()

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the steps that must finish first, each once, in the order they are mentioned."""
        read = [part.step for part in self.prompt if isinstance(part, OutputOf)]
        return tuple(dict.fromkeys([*read, *self.after]))


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """One unit of work that a user waits for. The engine may schedule a lower ``priority`` first.

    Raises:
        ValueError: two steps have the same name, a parent is unknown, or the steps form a cycle.
    """

    workflow_id: str
    tenant: str
    steps: tuple[Step, ...]
    priority: int = 0

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError(f"workflow {self.workflow_id}: step names must be unique, got {names}")
        for step in self.steps:
            for parent in step.parents:
                if parent not in self.by_name:
                    raise ValueError(f"workflow {self.workflow_id}: step {step.name} needs unknown {parent!r}")
        try:
            graphlib.TopologicalSorter({s.name: s.parents for s in self.steps}).prepare()
        except graphlib.CycleError as error:
            raise ValueError(f"workflow {self.workflow_id}: steps form a cycle {error.args[1]}") from error

    @cached_property
    def by_name(self) -> dict[str, Step]:
        """The steps by their names."""
        return {step.name: step for step in self.steps}

    @cached_property
    def children(self) -> dict[str, list[Step]]:
        """The steps that wait for each step, by its name, in the order of the workflow."""
        children: dict[str, list[Step]] = {step.name: [] for step in self.steps}
        for step in self.steps:
            for parent in step.parents:
                children[parent].append(step)
        return children

    def context_tokens(self, step: Step) -> int:
        """Return prompt and output of a step if every parent generates its full output. Units: tokens."""
        prompt = sum(
            self.by_name[part.step].output_tokens if isinstance(part, OutputOf) else part.n_tokens
            for part in step.prompt
        )
        return prompt + step.output_tokens


def remaining_tokens(workflow: Workflow) -> dict[str, int]:
    """Return the output tokens on the longest path from each step, itself included, to the end, by step name.

    After Parrot (OSDI'24), steps with the same parents and the same children form a *task group*: none of them is of
    use before all are done. A group counts with the tokens of all its members, because they share one engine. The last
    steps of a workflow form no group: each counts alone.
    """
    if len(workflow.steps) == 1:  # most of a chat load
        return {step.name: step.output_tokens for step in workflow.steps}
    tokens = _group_tokens(workflow)
    remaining: dict[str, int] = {}
    parents = {step.name: step.parents for step in workflow.steps}
    for name in reversed(tuple(graphlib.TopologicalSorter(parents).static_order())):
        after = max((remaining[child.name] for child in workflow.children[name]), default=0)
        remaining[name] = tokens[name] + after
    return remaining


def _group_tokens(workflow: Workflow) -> dict[str, int]:
    """Return the output tokens of each step's task group; of the step alone if nothing waits for it."""
    groups = {step.name: _group(workflow, step) for step in workflow.steps}
    tokens: dict[tuple[frozenset[str], frozenset[str]], int] = defaultdict(int)
    for step in workflow.steps:
        tokens[groups[step.name]] += step.output_tokens
    return {
        step.name: tokens[groups[step.name]] if workflow.children[step.name] else step.output_tokens
        for step in workflow.steps
    }


def _group(workflow: Workflow, step: Step) -> tuple[frozenset[str], frozenset[str]]:
    """Return the parents and the children of a step, which identify its task group."""
    return frozenset(step.parents), frozenset(child.name for child in workflow.children[step.name])
