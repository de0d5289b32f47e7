"""A workflow: steps that call a model, in the order their inputs allow.

The graph holds no engine and no clock; `workflows.execute` runs it.
"""

import graphlib
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Shared:
    """Prompt tokens that every workflow of the cell shares, such as a system prompt."""

    name: str
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Unique:
    """Prompt tokens that belong to this workflow; equal names within a workflow are equal tokens.

    ``token_ids`` or ``text`` say which they are, where that matters: a file of requests.
    """

    name: str
    n_tokens: int
    token_ids: tuple[int, ...] | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OutputOf:
    """The tokens that an earlier step of this workflow generated; makes that step a parent."""

    step: str


PromptPart = Shared | Unique | OutputOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of the model inside a workflow; ``role`` is the agent that makes it.

    ``after`` names steps that must have finished although their output is not read: a barrier.
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
    """One unit of work: what a user waits for. A lower ``priority`` goes first where the engine schedules by it.

    Raises:
        ValueError: two steps of one name, an unknown parent, or a cycle.
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
        """For every step's name, the steps that wait for it, in the order of the workflow."""
        children: dict[str, list[Step]] = {step.name: [] for step in self.steps}
        for step in self.steps:
            for parent in step.parents:
                children[parent].append(step)
        return children

    def context_tokens(self, step: Step) -> int:
        """Prompt and output of a step when every parent gives its full output. Units: tokens."""
        prompt = sum(
            self.by_name[part.step].output_tokens if isinstance(part, OutputOf) else part.n_tokens
            for part in step.prompt
        )
        return prompt + step.output_tokens
