"""Classes of requests by their lengths, after DynamoLLM (arXiv 2408.00741): short, medium, long prompt and output.

Prompts: S below 256 tokens, M below 1,024, L to 8,192, as published. The paper's bounds of outputs were not available
to us; S below 100 tokens, M below 350, L from there are ours, near the terciles of the Azure 2023 conversation trace
(94 and 358).
"""

from collections.abc import Iterable
from itertools import pairwise, product
from typing import Literal, get_args

from workflows.length_rows import LengthRow

LengthClass = Literal["SS", "SM", "SL", "MS", "MM", "ML", "LS", "LM", "LL"]
"""Prompt, then output: LS is a long prompt with a short answer."""

_PROMPT_BOUNDS_TOKENS = (1, 256, 1024, 8193)
_OUTPUT_BOUNDS_TOKENS = (1, 100, 350, 1_000_000_000)


def rows_of(length_class: LengthClass, rows: Iterable[LengthRow]) -> tuple[LengthRow, ...]:
    """The rows that belong to a class, in their order.

    Raises:
        ValueError: none does.
    """
    prompts, outputs = _ranges()[length_class]
    found = tuple(row for row in rows if row.prompt_tokens in prompts and row.output_tokens in outputs)
    if not found:
        raise ValueError(
            f"no row of length class {length_class}: prompts of {prompts.start} to {prompts.stop - 1} tokens "
            f"and outputs of {outputs.start} to {outputs.stop - 1}"
        )
    return found


def _ranges() -> dict[str, tuple[range, range]]:
    prompts, outputs = (
        [range(start, stop) for start, stop in pairwise(bounds)]
        for bounds in (_PROMPT_BOUNDS_TOKENS, _OUTPUT_BOUNDS_TOKENS)
    )
    return dict(zip(get_args(LengthClass), product(prompts, outputs), strict=True))
