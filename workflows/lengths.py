"""Lengths of prompts and outputs in tokens: distributions, the classes of recorded lengths, and seeded draws."""

import hashlib
import math
from collections.abc import Iterable
from itertools import pairwise, product
from statistics import NormalDist
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from workflows.traces import LengthRow

LengthClass = Literal["SS", "SM", "SL", "MS", "MM", "ML", "LS", "LM", "LL"]
"""Length class of the prompt, then of the output: LS is a long prompt with a short output."""

_PROMPT_BOUNDS_TOKENS = (1, 256, 1024, 8193)
_OUTPUT_BOUNDS_TOKENS = (1, 100, 350, 1_000_000_000)


class _Length(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FixedLength(_Length):
    """A constant length."""

    kind: Literal["fixed"]
    tokens: int = Field(ge=1)

    def quantile(self, share: float) -> int:
        """Return the length that this share of draws does not exceed."""
        return self.tokens


class LognormalLength(_Length):
    """A log-normal length; ``mean`` and coefficient of variation apply before rounding and clipping to [min, max]."""

    kind: Literal["lognormal"]
    mean: float = Field(gt=0, allow_inf_nan=False)
    cv: float = Field(gt=0, allow_inf_nan=False)
    min: int = Field(default=1, ge=1)
    max: int = Field(ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "LognormalLength":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self

    def quantile(self, share: float) -> int:
        """Return the length that this share of draws does not exceed."""
        variance = math.log1p(self.cv**2)
        exponent = math.log(self.mean) - variance / 2 + math.sqrt(variance) * NormalDist().inv_cdf(share)
        return min(max(round(math.exp(exponent)), self.min), self.max)


Length = Annotated[FixedLength | LognormalLength, Field(discriminator="kind")]


def uniform(seed: int, name: str, index: int) -> float:
    """Return a number in the open interval (0, 1), the same for equal arguments on every machine and version."""
    digest = hashlib.blake2b(f"{seed}/{name}/{index}".encode(), digest_size=8).digest()
    return ((int.from_bytes(digest) >> 11) + 0.5) / 2**53


def shuffled(seed: int, name: str, n: int) -> tuple[int, ...]:
    """Return the numbers 0 to n-1 in a seeded order."""
    return tuple(sorted(range(n), key=lambda index: uniform(seed, name, index)))


def rows_of_class(length_class: LengthClass, rows: Iterable[LengthRow]) -> tuple[LengthRow, ...]:
    """Return the rows of a length class, in their order.

    Raises:
        ValueError: the class has no row.
    """
    prompts, outputs = _ranges()[length_class]
    selected = tuple(row for row in rows if row.prompt_tokens in prompts and row.output_tokens in outputs)
    if not selected:
        raise ValueError(
            f"no row of length class {length_class}: prompts of {prompts.start} to {prompts.stop - 1} tokens "
            f"and outputs of {outputs.start} to {outputs.stop - 1}"
        )
    return selected


def _ranges() -> dict[str, tuple[range, range]]:
    prompts, outputs = (
        [range(start, stop) for start, stop in pairwise(bounds)]
        for bounds in (_PROMPT_BOUNDS_TOKENS, _OUTPUT_BOUNDS_TOKENS)
    )
    return dict(zip(get_args(LengthClass), product(prompts, outputs), strict=True))
