"""A workflow plug-in outside the library: one request per line of a JSONL file, unchanged.

A line is ``{"prompt": TEXT or [ID, ...], "output_tokens": N, "prompt_tokens": N}``, as ``vllm bench serve`` reads it
with ``--dataset-name custom``; ``prompt_tokens`` is the length of the prompt for the model's tokenizer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflows.graph import Step, Unique, Workflow
from workflows.source import WorkflowOptions


class Options(WorkflowOptions):
    """Options of the file; ``arrivals_per_s`` is the constant rate of ``load=replay``. Units: 1/s."""

    kind: str
    path: str
    arrivals_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class RequestFile:
    """The requests in the order of the file."""

    rows: tuple[dict[str, Any], ...]
    arrivals_s: Sequence[float] | None

    def workflow(self, index: int) -> Workflow:
        """Return the request of one line; after the last line, start again with the first."""
        row = self.rows[index % len(self.rows)]
        prompt = row["prompt"]
        known = {"text": prompt} if isinstance(prompt, str) else {"token_ids": tuple(prompt)}
        part = Unique("prompt", row["prompt_tokens"], **known)
        step = Step(name="ask", role="user", prompt=(part,), output_tokens=row["output_tokens"])
        return Workflow(workflow_id=f"line-{index}", tenant="file", steps=(step,))


def build(options: Options, *, seed: int) -> RequestFile:
    """Read the file; nothing is random."""
    del seed
    rows = tuple(json.loads(line) for line in Path(options.path).read_text().splitlines())
    rate = options.arrivals_per_s
    return RequestFile(rows, None if rate is None else [(k + 1) / rate for k in range(len(rows))])
