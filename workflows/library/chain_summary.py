"""Sequential summary: each step refines the previous summary with the next chunk; Parrot's figures 11 and 12 (OSDI'24).

No two steps of a chain can run at the same time. The instructions around summary and chunk are those of the artifact's
LangChain baseline, counted like the documents (data/README.md).
"""

from typing import Literal

from workflows.documents import SummaryOptions, chunks, shuffled_documents
from workflows.graph import OutputOf, PromptPart, Shared, Step, Unique, Workflow
from workflows.source import EndlessSource, WorkflowSource

_BEFORE_FIRST_CHUNK = Shared("chain_summary/before_first_chunk", 11)
_AFTER_FIRST_CHUNK = Shared("chain_summary/after_first_chunk", 11)
_BEFORE_SUMMARY = Shared("chain_summary/before_summary", 22)
_BEFORE_CHUNK = Shared("chain_summary/before_chunk", 42)
_AFTER_CHUNK = Shared("chain_summary/after_chunk", 32)


class Options(SummaryOptions):
    """Options of a summary."""

    kind: Literal["chain_summary"]


def build(options: Options, *, seed: int) -> WorkflowSource:
    """Build one workflow per document, in a seeded order that repeats."""
    order = shuffled_documents(options.documents, seed)

    def workflow(index: int) -> Workflow:
        lengths = chunks(order[index % len(order)], options.chunk_tokens)
        steps = (
            Step(
                name=f"refine-{number}",
                role="summarizer",
                prompt=_prompt(number, Unique(f"chunk-{number}", length)),
                output_tokens=options.output_tokens,
            )
            for number, length in enumerate(lengths)
        )
        return Workflow(workflow_id=f"chain_summary-{index}", tenant="chain_summary", steps=tuple(steps))

    return EndlessSource(workflow)


def _prompt(number: int, chunk: Unique) -> tuple[PromptPart, ...]:
    if number == 0:
        return (_BEFORE_FIRST_CHUNK, chunk, _AFTER_FIRST_CHUNK)
    return (_BEFORE_SUMMARY, OutputOf(f"refine-{number - 1}"), _BEFORE_CHUNK, chunk, _AFTER_CHUNK)
