"""Search copilot: a long prefix that all requests share, then a query; Parrot's figure 14 (OSDI'24).

The prompt and output lengths are those of the 64 published requests, in a seeded order that repeats.
"""

from typing import Literal

from pydantic import BaseModel, Field

from workflows.graph import Shared, Step, Unique, Workflow
from workflows.lengths import shuffled
from workflows.source import EndlessSource, WorkflowOptions, WorkflowSource
from workflows.traces import read_text


class Options(WorkflowOptions):
    """Options of a copilot; ``output_tokens`` replaces the published output lengths (figure 15), null keeps them."""

    kind: Literal["copilot"]
    output_tokens: int | None = Field(default=None, ge=1)

    @property
    def has_graphs(self) -> bool:
        """False: each workflow is a single request."""
        return False


class _Request(BaseModel):
    prompt_tokens: int
    output_tokens: int


class _Published(BaseModel):
    shared_prefix_tokens: int
    requests: tuple[_Request, ...]


def build(options: Options, *, seed: int) -> WorkflowSource:
    """Build workflows of one step: the shared prefix, then the rest of the published prompt."""
    published = _Published.model_validate_json(read_text("parrot_copilot.json"))
    prefix = Shared("copilot/prefix", published.shared_prefix_tokens)
    order = shuffled(seed, "copilot", len(published.requests))

    def workflow(index: int) -> Workflow:
        request = published.requests[order[index % len(order)]]
        query = Unique("query", request.prompt_tokens - prefix.n_tokens)
        n_output = request.output_tokens if options.output_tokens is None else options.output_tokens
        answer = Step(name="answer", role="copilot", prompt=(prefix, query), output_tokens=n_output)
        return Workflow(workflow_id=f"copilot-{index}", tenant="copilot", steps=(answer,))

    return EndlessSource(workflow)
