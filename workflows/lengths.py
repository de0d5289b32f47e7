"""Distributions of token counts."""

import hashlib
import math
from collections.abc import Iterable
from itertools import pairwise, product
from statistics import NormalDist
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from workflows.traces import LengthRow

LengthClass = Literal["SS", "SM", "SL", "MS", "MM", "ML", "LS", "LM", "LL"]
"""Prompt, then output: LS is a long prompt with a short answer."""

_PROMPT_BOUNDS_TOKENS = (1, 256, 1024, 8193)
_OUTPUT_BOUNDS_TOKENS = (1, 100, 350, 1_000_000_000)


class _Length(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FixedLength(_Length):
    """Always ``tokens``."""

    kind: Literal["fixed"]
    tokens: int = Field(ge=1)

    def quantile(self, share: float) -> int:
        """The length that this share of draws stays at or below."""
        return self.tokens


class LognormalLength(_Length):
    """Log-normal with this mean and coefficient of variation before it is rounded and clipped to [min, max]."""

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
        """The length that this share of draws stays at or below."""
        variance = math.log1p(self.cv**2)
        exponent = math.log(self.mean) - variance / 2 + math.sqrt(variance) * NormalDist().inv_cdf(share)
        return min(max(round(math.exp(exponent)), self.min), self.max)


Length = Annotated[FixedLength | LognormalLength, Field(discriminator="kind")]


def uniform(seed: int, name: str, index: int) -> float:
    """A number in the open interval (0, 1); equal arguments give equal numbers on every machine and version."""
    digest = hashlib.blake2b(f"{seed}/{name}/{index}".encode(), digest_size=8).digest()
    return ((int.from_bytes(digest) >> 11) + 0.5) / 2**53


def shuffled(seed: int, name: str, n: int) -> tuple[int, ...]:
    """The numbers 0 … n-1 in a seeded order."""
    return tuple(sorted(range(n), key=lambda index: uniform(seed, name, index)))


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
