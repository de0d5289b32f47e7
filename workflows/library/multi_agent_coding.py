"""Agents that write a program: an architect, then coders, reviewers and revisers of its files; Parrot's figure 17.

Every layer waits for the whole previous layer. The artifact (OSDI'24) replays one recorded log like those of MetaGPT:
eight files, reused in turn if there are more branches, and the recorded review and revision, repeated to four rounds,
which makes ten layers. Two things differ. The artifact's script sends the architect's request once per branch; here it
is sent once. Later rounds read what was generated; the script sends the recorded text again.

A prompt has the published length and the parts of the recorded text:

- coder: instruction, the architect's output, the rest of the design, what to write for this file;
- reviewer: instruction, the code of all files, what to review;
- reviser: instruction, the code of all files, one review (the log gives every reviser that of the last file), what
  to revise.

The first three parts are equal within a layer and form its shared prefix. ``rest`` fills the prompt up to the published
length: it stands for the restated design, for files that fewer than eight branches did not write, and for revisions
that are shorter than the first code. ``output_tokens`` changes the outputs that are read, not the length of ``rest``.
"""

from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, Field

from workflows.graph import OutputOf, PromptPart, Shared, Step, Unique, Workflow
from workflows.source import EndlessSource, WorkflowOptions, WorkflowSource
from workflows.traces import read_text


class Options(WorkflowOptions):
    """Options of the agents; ``output_tokens`` replaces the published output lengths of all roles, null keeps them."""

    kind: Literal["multi_agent_coding"]
    branches: int = Field(ge=4, le=16)
    rounds: int = Field(ge=1)
    output_tokens: int | None = Field(default=None, ge=1)

    @property
    def has_graphs(self) -> bool:
        """True: each workflow has several steps."""
        return True


class _Request(BaseModel):
    file: str
    prompt_tokens: int
    output_tokens: int


class _Agent(BaseModel):
    instruction_tokens: int
    file_instruction_tokens: int
    requests: tuple[_Request, ...]


class _Published(BaseModel):
    architect: _Agent
    coder: _Agent
    reviewer: _Agent
    reviser: _Agent


def build(options: Options, *, seed: int) -> WorkflowSource:
    """Build the same workflow for every index; nothing is drawn, so the seed has no effect."""
    steps = _steps(options, _Published.model_validate_json(read_text("parrot_multi_agent_coding.json")))

    def workflow(index: int) -> Workflow:
        return Workflow(workflow_id=f"multi_agent_coding-{index}", tenant="multi_agent_coding", steps=steps)

    return EndlessSource(workflow)


def _steps(options: Options, published: _Published) -> tuple[Step, ...]:
    architect = _layer("architect", "architect", published.architect, 1, reads=(), after=())
    code = _layer("coder", "coder", published.coder, options.branches, reads=architect, after=architect)
    steps = [*architect, *code]
    n_files = min(options.branches, len(published.coder.requests))
    for number in range(1, options.rounds + 1):
        codebase = code[:n_files]
        reviews = _layer(
            f"reviewer-{number}", "reviewer", published.reviewer, options.branches, reads=codebase, after=code
        )
        code = _layer(
            f"reviser-{number}",
            "reviser",
            published.reviser,
            options.branches,
            reads=(*codebase, reviews[n_files - 1]),
            after=reviews,
        )
        steps += [*reviews, *code]
    if options.output_tokens is None:
        return tuple(steps)
    return tuple(replace(step, output_tokens=options.output_tokens) for step in steps)


def _layer(
    layer: str, role: str, agent: _Agent, branches: int, *, reads: tuple[Step, ...], after: tuple[Step, ...]
) -> tuple[Step, ...]:
    """Return steps that run in parallel after ``after`` and read the outputs of ``reads``."""
    shortest = min(request.prompt_tokens for request in agent.requests)
    outputs_tokens = sum(step.output_tokens for step in reads)
    rest_tokens = shortest - agent.instruction_tokens - agent.file_instruction_tokens - outputs_tokens
    common: tuple[PromptPart, ...] = (
        Shared(f"multi_agent_coding/{role}", agent.instruction_tokens),
        *(OutputOf(step.name) for step in reads),
        Unique(f"{layer}/rest", rest_tokens),
    )
    barrier = tuple(step.name for step in after)

    def step(branch: int) -> Step:
        request = agent.requests[branch % len(agent.requests)]
        file_tokens = agent.file_instruction_tokens + request.prompt_tokens - shortest
        return Step(
            name=f"{layer}-{branch}",
            role=role,
            prompt=(*common, Unique(f"{layer}/{request.file}", file_tokens)),
            output_tokens=request.output_tokens,
            after=barrier,
        )

    return tuple(step(branch) for branch in range(branches))
