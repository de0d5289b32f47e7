"""The ten arXiv papers that Parrot's summaries read, as token counts (data/README.md), and their chunks."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter

from workflows.lengths import shuffled
from workflows.source import WorkflowOptions
from workflows.traces import read_text

N_DOCUMENTS = 10


class _Document(BaseModel):
    words: int
    characters: int
    tokens: int


def _known(documents: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if documents is not None and not (documents and all(0 <= number < N_DOCUMENTS for number in documents)):
        raise ValueError(f"documents are numbers from 0 to {N_DOCUMENTS - 1}, at least one, got {list(documents)}")
    return documents


DocumentNumbers = Annotated[tuple[int, ...] | None, AfterValidator(_known)]
"""Which documents to read, by the numbers of the published files; None is all of them."""


class SummaryOptions(WorkflowOptions):
    """``chunk_tokens`` are tokens of the document; every step generates ``output_tokens``."""

    chunk_tokens: int = Field(ge=1)
    output_tokens: int = Field(ge=1)
    documents: DocumentNumbers = None

    @property
    def has_graphs(self) -> bool:
        """Each has a step a chunk."""
        return True


def in_turn(documents: Sequence[int] | None, seed: int) -> tuple[int, ...]:
    """Token counts of the documents in a seeded order, to be taken one after the other, over and over."""
    papers = TypeAdapter(tuple[_Document, ...]).validate_json(read_text("parrot_documents.json"))
    chosen = range(N_DOCUMENTS) if documents is None else documents
    return tuple(papers[chosen[place]].tokens for place in shuffled(seed, "documents", len(chosen)))


def chunks(n_tokens: int, chunk_tokens: int) -> tuple[int, ...]:
    """Lengths of the chunks of a document: full ones, then the rest."""
    n_full, rest = divmod(n_tokens, chunk_tokens)
    return (chunk_tokens,) * n_full + ((rest,) if rest else ())
