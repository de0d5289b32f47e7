"""Single-turn chat: one request, lengths drawn from distributions, an optional shared system prompt."""

from typing import Literal

from pydantic import Field

from workflows.graph import Shared, Step, Unique, Workflow
from workflows.lengths import Length, uniform
from workflows.source import EndlessSource, WorkflowOptions, WorkflowSource


class Options(WorkflowOptions):
    """Options of a chat; ``prompt_tokens`` is the user's message without the system prompt."""

    kind: Literal["chat"]
    prompt_tokens: Length
    output_tokens: Length
    system_prompt_tokens: int = Field(default=0, ge=0)

    @property
    def has_graphs(self) -> bool:
        """False: each workflow is a single request."""
        return False


def build(options: Options, *, seed: int) -> WorkflowSource:
    """Build workflows of one step: the system prompt, then the user's message."""
    system = Shared("chat/system", options.system_prompt_tokens)

    def workflow(index: int) -> Workflow:
        n_prompt = options.prompt_tokens.quantile(uniform(seed, "chat/prompt", index))
        n_output = options.output_tokens.quantile(uniform(seed, "chat/output", index))
        answer = Step(
            name="answer", role="assistant", prompt=(system, Unique("message", n_prompt)), output_tokens=n_output
        )
        return Workflow(workflow_id=f"chat-{index}", tenant="chat", steps=(answer,))

    return EndlessSource(workflow)
