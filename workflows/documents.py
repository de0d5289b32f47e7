"""Options and inputs of the summary workflows: token counts of Parrot's ten arXiv papers (data/README.md)."""

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


def _checked(documents: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if documents is not None and not (documents and all(0 <= number < N_DOCUMENTS for number in documents)):
        raise ValueError(f"documents are numbers from 0 to {N_DOCUMENTS - 1}, at least one, got {list(documents)}")
    return documents


DocumentNumbers = Annotated[tuple[int, ...] | None, AfterValidator(_checked)]
"""Documents to read, by the numbers of the published files; None for all."""


class SummaryOptions(WorkflowOptions):
    """Options of a summary: tokens of the document in a chunk, and tokens that every step generates."""

    chunk_tokens: int = Field(ge=1)
    output_tokens: int = Field(ge=1)
    documents: DocumentNumbers = None

    @property
    def has_graphs(self) -> bool:
        """True: each workflow has one step per chunk."""
        return True


def shuffled_documents(documents: Sequence[int] | None, seed: int) -> tuple[int, ...]:
    """Return the token counts of the documents in a seeded order."""
    papers = TypeAdapter(tuple[_Document, ...]).validate_json(read_text("parrot_documents.json"))
    chosen = range(N_DOCUMENTS) if documents is None else documents
    return tuple(papers[chosen[place]].tokens for place in shuffled(seed, "documents", len(chosen)))


def chunks(n_tokens: int, chunk_tokens: int) -> tuple[int, ...]:
    """Return the lengths of the chunks of a document: full ones, then the rest."""
    n_full, rest = divmod(n_tokens, chunk_tokens)
    return (chunk_tokens,) * n_full + ((rest,) if rest else ())
