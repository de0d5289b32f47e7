"""Single requests whose prompt and output lengths are drawn together, a row of token counts at a time."""

from typing import Literal

from pydantic import Field

from workflows.graph import Step, Unique, Workflow
from workflows.lengths import LengthClass, rows_of, uniform
from workflows.source import EndlessSource, WorkflowOptions, WorkflowSource
from workflows.traces import SHIPPED_LENGTHS, read_lengths


class Options(WorkflowOptions):
    """``rows`` is a shipped data set or the path of a CSV file (`workflows.traces`).

    ``length_class`` keeps only the rows of that class (`workflows.lengths`); null keeps all.
    """

    kind: Literal["sampled_requests"]
    rows: str = Field(min_length=1)
    length_class: LengthClass | None = None

    @property
    def has_graphs(self) -> bool:
        """Each is a single request."""
        return False


def build(options: Options, *, seed: int) -> WorkflowSource:
    """One step a workflow, every row as likely as any other, with replacement.

    Raises:
        ValueError: the rows cannot be read, or none is of the class.
    """
    rows = read_lengths(options.rows)
    if options.length_class is not None:
        rows = rows_of(options.length_class, rows)
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
