"""When a sensor renewed what it says, told from a sampler that asks more often."""

import math
from dataclasses import dataclass

import numpy as np

from orchestrator.attribution.members import Ints
from orchestrator.measure.columns import Floats

_OFTEN = 0.8
_EARLY = 0.3
_SLACK = 1.01
"""Renewals come so much of a period early, and drift by so much from one to the next, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewals:
    """Samples that said something new, and when that became so; ``period_s`` is None where most samples did."""

    sample: Ints
    t_s: Floats
    period_s: float | None


def renewals_of(t_s: Floats, values: Floats) -> Renewals:
    """The first sample, and those that differ from the one before.

    Asked at about the moment of a renewal, a sampler sees some at once and others a whole sample later. A renewal is
    therefore taken to be no later than a period after the one before; a time that the last sample without it
    contradicts stays as it was seen.
    """
    sample = np.concatenate([[0], 1 + np.flatnonzero(np.diff(values) != 0)])
    seen_s = t_s[sample]
    if len(sample) < 3 or len(sample) > _OFTEN * len(t_s):
        return Renewals(sample=sample, t_s=seen_s, period_s=None)
    period_s = float(np.median(np.diff(seen_s)))
    renewed_s = [float(seen_s[0])]
    for seen in seen_s[1:].tolist():
        periods = max(1, math.floor((seen - renewed_s[-1]) / period_s + _EARLY))
        renewed_s.append(min(seen, renewed_s[-1] + periods * period_s * _SLACK))
    found_s, before_s = np.array(renewed_s), t_s[np.maximum(sample - 1, 0)]
    possible = (found_s > before_s) | (sample == 0)
    return Renewals(sample=sample, t_s=np.where(possible, found_s, seen_s), period_s=period_s)
