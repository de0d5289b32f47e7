"""Where a cell's workflows come from: the contract of every file in `workflows.library`.

A library file named ``<kind>.py`` holds ``class Options(WorkflowOptions)`` and
``def build(options: Options, *, seed: int) -> WorkflowSource``.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from workflows.graph import Workflow


class WorkflowOptions(BaseModel):
    """Base of the options of a workflow: strict, frozen, unknown fields refused.

    ``executor`` says where its steps wait for each other: in ``ray`` actors, one a role, or beside the engine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    executor: Literal["ray", "local"] = "local"

    @property
    def has_graphs(self) -> bool | None:
        """Whether workflows of several steps are among them, drawn or not; None: known when they have run."""
        return None


class WorkflowSource(Protocol):
    """A sequence of workflows (a trace bounds it), each a pure function of its index and the seed."""

    @property
    def arrivals_s(self) -> Sequence[float] | None:
        """Recorded arrival times from the first one, ascending; None where there are none. Units: s."""
        ...

    def workflow(self, index: int) -> Workflow:
        """The workflow of this index, from 0; equal arguments give equal workflows."""
        ...


@dataclass(frozen=True, slots=True)
class EndlessSource:
    """A source without recorded arrivals: any number of workflows, each made by a pure function of its index."""

    make: Callable[[int], Workflow]

    @property
    def arrivals_s(self) -> None:
        """No recorded arrivals."""
        return None

    def workflow(self, index: int) -> Workflow:
        """The workflow of this index, from 0."""
        return self.make(index)


def max_context_tokens(source: WorkflowSource, n: int) -> dict[str, int]:
    """Longest prompt and output of any step of each role in the first ``n`` workflows, outputs at their full length.

    Roles come in the order they first appear.
    """
    longest: defaultdict[str, int] = defaultdict(int)
    for workflow in (source.workflow(index) for index in range(n)):
        for step in workflow.steps:
            longest[step.role] = max(longest[step.role], workflow.context_tokens(step))
    return dict(longest)
