"""Parallel summary: one step per chunk, then one step that reads all summaries; Parrot's figure 13 (OSDI'24).

The instructions are those of the artifact's LangChain baseline, counted like the documents (data/README.md).
"""

from typing import Literal

from workflows.documents import SummaryOptions, chunks, shuffled_documents
from workflows.graph import OutputOf, Shared, Step, Unique, Workflow
from workflows.source import EndlessSource, WorkflowSource

_BEFORE_CHUNK = Shared("map_reduce_summary/before_chunk", 23)
_AFTER_CHUNK = Shared("map_reduce_summary/after_chunk", 11)
_BEFORE_SUMMARIES = Shared("map_reduce_summary/before_summaries", 10)
_AFTER_SUMMARIES = Shared("map_reduce_summary/after_summaries", 28)


class Options(SummaryOptions):
    """Options of a summary."""

    kind: Literal["map_reduce_summary"]


def build(options: Options, *, seed: int) -> WorkflowSource:
    """Build one workflow per document, in a seeded order that repeats."""
    order = shuffled_documents(options.documents, seed)

    def workflow(index: int) -> Workflow:
        lengths = chunks(order[index % len(order)], options.chunk_tokens)
        maps = tuple(
            Step(
                name=f"map-{number}",
                role="mapper",
                prompt=(_BEFORE_CHUNK, Unique(f"chunk-{number}", length), _AFTER_CHUNK),
                output_tokens=options.output_tokens,
            )
            for number, length in enumerate(lengths)
        )
        summaries = tuple(OutputOf(step.name) for step in maps)
        reduce = Step(
            name="reduce",
            role="reducer",
            prompt=(_BEFORE_SUMMARIES, *summaries, _AFTER_SUMMARIES),
            output_tokens=options.output_tokens,
        )
        return Workflow(workflow_id=f"map_reduce_summary-{index}", tenant="map_reduce_summary", steps=(*maps, reduce))

    return EndlessSource(workflow)
