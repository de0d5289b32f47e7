"""The source of a cell's workflows: the contract of every file in `workflows.library`.

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
    """Base of the options of a workflow; unknown fields are refused.

    ``executor`` is where its steps run: in ``ray`` actors, one for each role, or in the ``local`` engine's process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    executor: Literal["ray", "local"] = "local"

    @property
    def has_graphs(self) -> bool | None:
        """Whether the source may have workflows of several steps; None if that is known only after they have run."""
        return None


class WorkflowSource(Protocol):
    """A sequence of workflows, bounded if it is a trace; each is a pure function of its index and the seed."""

    @property
    def arrivals_s(self) -> Sequence[float] | None:
        """Recorded arrival times, ascending from 0 at the first; None if nothing is recorded. Units: s."""
        ...

    def workflow(self, index: int) -> Workflow:
        """Return the workflow of this index, from 0; equal indices give equal workflows."""
        ...


@dataclass(frozen=True, slots=True)
class EndlessSource:
    """A source of any number of workflows, each built by a pure function of its index."""

    make: Callable[[int], Workflow]

    @property
    def arrivals_s(self) -> None:
        """No recorded arrivals."""
        return None

    def workflow(self, index: int) -> Workflow:
        """Return the workflow of this index, from 0."""
        return self.make(index)


def max_context_tokens(source: WorkflowSource, n: int) -> dict[str, int]:
    """Return the longest prompt plus output of each role's steps in the first ``n`` workflows. Units: tokens.

    Outputs count at their full length. Roles are in the order of their first appearance.
    """
    longest: defaultdict[str, int] = defaultdict(int)
    for workflow in (source.workflow(index) for index in range(n)):
        for step in workflow.steps:
            longest[step.role] = max(longest[step.role], workflow.context_tokens(step))
    return dict(longest)
