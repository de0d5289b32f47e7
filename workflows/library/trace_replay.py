"""Recorded traffic: one request per row of a trace, with its lengths and, with ``load=replay``, its arrival time."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from workflows.graph import Step, Unique, Workflow
from workflows.source import WorkflowOptions, WorkflowSource
from workflows.traces import SHIPPED_TRACES, Row, read_trace


class Options(WorkflowOptions):
    """Options of a replay; ``trace`` is a shipped trace or the path of a CSV file (`workflows.traces`).

    Only the rows of [start_s, start_s + duration_s) are used, counted from the first row of the file. Units: s.
    """

    kind: Literal["trace_replay"]
    trace: str = Field(min_length=1)
    start_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    duration_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @property
    def has_graphs(self) -> bool:
        """False: each workflow is a single request."""
        return False


def build(options: Options, *, seed: int) -> WorkflowSource:
    """Build one workflow per row of the trace, in order; nothing is drawn, so the seed has no effect.

    Raises:
        ValueError: the trace cannot be read or has no row in the slice.
    """
    name = options.trace if options.trace in SHIPPED_TRACES else Path(options.trace).name.split(".")[0]
    return _Trace(name, read_trace(options.trace, start_s=options.start_s, duration_s=options.duration_s))


@dataclass(frozen=True)
class _Trace:
    name: str
    rows: tuple[Row, ...]

    @cached_property
    def arrivals_s(self) -> tuple[float, ...]:
        """Arrival times from the first row of the slice. Units: s."""
        return tuple(row.arrival_s - self.rows[0].arrival_s for row in self.rows)

    def workflow(self, index: int) -> Workflow:
        """Return the request of this row."""
        row = self.rows[index]
        answer = Step(
            name="answer",
            role="assistant",
            prompt=(Unique("prompt", row.prompt_tokens),),
            output_tokens=row.output_tokens,
        )
        return Workflow(workflow_id=f"{self.name}-{index}", tenant=self.name, steps=(answer,))
