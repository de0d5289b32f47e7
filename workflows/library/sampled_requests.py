"""Single requests whose prompt and output lengths are drawn together, as rows of recorded token counts."""

from typing import Literal

from pydantic import Field

from workflows.graph import Step, Unique, Workflow
from workflows.lengths import LengthClass, rows_of_class, uniform
from workflows.source import EndlessSource, WorkflowOptions, WorkflowSource
from workflows.traces import SHIPPED_LENGTHS, read_lengths


class Options(WorkflowOptions):
    """Options of sampled requests; ``rows`` is a shipped data set or the path of a CSV file (`workflows.traces`).

    ``length_class`` selects the rows of that class (`workflows.lengths`); null selects all.
    """

    kind: Literal["sampled_requests"]
    rows: str = Field(min_length=1)
    length_class: LengthClass | None = None

    @property
    def has_graphs(self) -> bool:
        """False: each workflow is a single request."""
        return False


def build(options: Options, *, seed: int) -> WorkflowSource:
    """Build workflows of one step; rows are drawn uniformly with replacement.

    Raises:
        ValueError: the rows cannot be read, or the class has no row.
    """
    rows = read_lengths(options.rows)
    if options.length_class is not None:
        rows = rows_of_class(options.length_class, rows)
    tenant = options.length_class or (options.rows if options.rows in SHIPPED_LENGTHS else "sampled_requests")

    def workflow(index: int) -> Workflow:
        row = rows[int(uniform(seed, "sampled_requests", index) * len(rows))]
        answer = Step(
            name="answer",
            role="assistant",
            prompt=(Unique("prompt", row.prompt_tokens),),
            output_tokens=row.output_tokens,
        )
        return Workflow(workflow_id=f"{tenant}-{index}", tenant=tenant, steps=(answer,))

    return EndlessSource(workflow)
