"""What the sensors said of the energy of one engine's GPUs: readings of a counter that moves in steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.attribution.members import Ints
from orchestrator.measure.columns import Columns, Floats

_OFTEN = 0.8
"""A counter that moves in more of the samples than this is renewed about as often as it is asked."""
_EARLY = 0.3
_SLACK = 1.01
"""Renewals come that much of a period early, and drift by so much from one to the next, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Energy of all devices together since the first reading. Units: s, J; shape (readings,), times ascending."""

    t_s: Floats
    energy_j: Floats

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
    readings. Where a device has no counter, or one that stands still, it is the integral of its power.
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


def _steps(samples: Columns) -> tuple[Floats, Floats]:
    t_s, counter_j, power_w = (samples.floats(name) for name in ("t_s", "energy_j", "power_w"))
    counted = ~np.isnan(counter_j)
    if counted.sum() >= 2 and counter_j[counted][-1] > counter_j[counted][0]:
        t_s, counter_j = t_s[counted], counter_j[counted]
        moved = np.concatenate([[0], 1 + np.flatnonzero(np.diff(counter_j) > 0)])
        return _renewed_s(t_s, moved), counter_j[moved]
    known = ~np.isnan(power_w)
    t_s, power_w = t_s[known], power_w[known]
    steps_j = (power_w[1:] + power_w[:-1]) / 2 * np.diff(t_s)
    return t_s, np.concatenate([[0.0], np.cumsum(steps_j)])


def _renewed_s(t_s: Floats, moved: Ints) -> Floats:
    """When the counter moved, as far as it can be told of one that is renewed at a fixed period.

    Asked at about the moment of a renewal, a sampler sees some at once and others a whole sample later. A renewal is
    therefore taken to be no later than a period after the one before; a time that the last sample without it
    contradicts stays as it was seen.
    """
    seen_s = t_s[moved]
    if len(moved) < 3 or len(moved) > _OFTEN * len(t_s):
        return seen_s
    period_s = float(np.median(np.diff(seen_s)))
    renewed_s = [float(seen_s[0])]
    for seen in seen_s[1:].tolist():
        periods = max(1, math.floor((seen - renewed_s[-1]) / period_s + _EARLY))
        renewed_s.append(min(seen, renewed_s[-1] + periods * period_s * _SLACK))
    found_s, before_s = np.array(renewed_s), t_s[np.maximum(moved - 1, 0)]
    return np.where((found_s > before_s) | (moved == 0), found_s, seen_s)
