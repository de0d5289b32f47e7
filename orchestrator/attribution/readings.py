"""What the sensors said of the energy of one engine's GPUs: readings of a counter that moves in steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.attribution.work import Ints
from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.counter import blind, mended

_OFTEN = 0.8
_EARLY = 0.3
_SLACK = 1.01
"""Renewals come so much of a period early, and drift by so much from one to the next, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Energy of all devices together since the first reading. Units: s, J; shape (readings,), times ascending."""

    t_s: Floats
    energy_j: Floats

    def since(self, begin_s: float) -> "Readings | None":
        """Those from a time on; None where fewer than two are left."""
        later = self.t_s >= begin_s
        if later.sum() < 2:
            return None
        return Readings(t_s=self.t_s[later], energy_j=self.energy_j[later] - self.energy_j[later][0])

    def every(self, interval_s: float) -> "Readings":
        """Those at least so far apart, the first and the last among them."""
        kept = [0]
        for index in range(1, len(self.t_s)):
            if self.t_s[index] - self.t_s[kept[-1]] >= interval_s:
                kept.append(index)
        if kept[-1] != len(self.t_s) - 1:
            kept[-1 if len(kept) > 1 else len(kept) :] = [len(self.t_s) - 1]
        return Readings(t_s=self.t_s[kept], energy_j=self.energy_j[kept])


def devices_of(power: pa.Table) -> tuple[str, ...]:
    """Names of the devices, in the order of their first samples."""
    return tuple(str(name) for name in power.column("device").unique().to_pylist())


def readings_of(power: pa.Table, devices: Sequence[str]) -> Readings | None:
    """Readings of some devices as one; None where one of them has none.

    A sampler asks more often than the sensor renews what it says, so only samples in which the counter has moved are
    readings. Where a device has no counter, or one that stands still or fell, it is the integral of its power;
    none where it fell while nobody looked.
    """
    found = [_steps(Columns(power.filter(pc.equal(power.column("device"), name)))) for name in devices]
    if not found or any(len(t_s) < 2 for t_s, _ in found):
        return None
    begin_s, end_s = max(t_s[0] for t_s, _ in found), min(t_s[-1] for t_s, _ in found)
    first_s = found[0][0]
    t_s = first_s[(first_s >= begin_s) & (first_s <= end_s)]
    if len(t_s) < 2:
        return None
    energy_j = sum(np.interp(t_s, *steps) for steps in found)
    return Readings(t_s=t_s, energy_j=energy_j - energy_j[0])


def limit_w(power: pa.Table, devices: Sequence[str]) -> float | None:
    """The enforced power limits of the devices together, as most samples had them; None where one was not read."""
    found = [
        Columns(power.filter(pc.equal(power.column("device"), name))).floats_or_nan("power_limit_w") for name in devices
    ]
    if any(np.isnan(limits_w).all() for limits_w in found):
        return None
    return float(sum(np.nanmedian(limits_w) for limits_w in found))


def _steps(samples: Columns) -> tuple[Floats, Floats]:
    t_s, counter_j, power_w = (samples.floats(name) for name in ("t_s", "energy_j", "power_w"))
    counted = ~np.isnan(counter_j)
    whole_j, falls_s = mended(t_s[counted], counter_j[counted])
    if not falls_s and len(whole_j) > 1 and whole_j[-1] > whole_j[0]:
        found = renewals_of(t_s[counted], whole_j)
        return found.t_s, whole_j[found.sample]
    known = ~np.isnan(power_w) & (not blind(falls_s))
    return _integral(t_s[known], power_w[known])


def _integral(t_s: Floats, power_w: Floats) -> tuple[Floats, Floats]:
    """Energy of power that is a mean up to its renewal, or straight between samples where all of them are new."""
    if len(t_s) < 2:
        return t_s, np.zeros(len(t_s))
    found = renewals_of(t_s, power_w)
    if found.period_s is None:
        steps_j = (power_w[1:] + power_w[:-1]) / 2 * np.diff(t_s)
        return t_s, np.concatenate([[0.0], np.cumsum(steps_j)])
    renewed_w, gaps_s = power_w[found.sample], np.diff(found.t_s)
    new_s = np.minimum(gaps_s, found.period_s)
    steps_j = renewed_w[1:] * new_s + renewed_w[:-1] * (gaps_s - new_s)
    return found.t_s, np.concatenate([[0.0], np.cumsum(steps_j)])


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
