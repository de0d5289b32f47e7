"""Energy of one engine's GPUs at the updates of their sensors, and their power limit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.measure.columns import Floats, GpuSamples, running_integral, running_sum
from orchestrator.measure.sensor_series import SensorSeries, fell_unobserved, gpu_readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Energy of all GPUs together since the first reading. Units: s, J; shape (readings,), times ascending."""

    t_s: Floats
    energy_j: Floats

    def since(self, begin_s: float) -> "Readings | None":
        """Return the readings from a time on; None if fewer than two are left."""
        later = self.t_s >= begin_s
        if later.sum() < 2:
            return None
        return Readings(t_s=self.t_s[later], energy_j=self.energy_j[later] - self.energy_j[later][0])

    def every(self, interval_s: float) -> "Readings":
        """Return readings that are at least ``interval_s`` apart, the first and the last among them."""
        kept = [0]
        for index in range(1, len(self.t_s)):
            if self.t_s[index] - self.t_s[kept[-1]] >= interval_s:
                kept.append(index)
        if kept[-1] != len(self.t_s) - 1:
            kept[-1 if len(kept) > 1 else len(kept) :] = [len(self.t_s) - 1]
        return Readings(t_s=self.t_s[kept], energy_j=self.energy_j[kept])


def readings_of(gpus: Sequence[GpuSamples]) -> Readings | None:
    """Return the readings of some GPUs together; None without GPUs, or if one of them has none.

    A sampler reads more often than the sensor updates, so only updates of the counter are readings. If a GPU has no
    counter, or one that did not change or fell, its power is integrated. If the counter fell in a long pause of the
    samples, the GPU has no readings.
    """
    of_gpus = [_energy_at_updates(gpu) for gpu in gpus]
    if not of_gpus or any(len(t_s) < 2 for t_s, _ in of_gpus):
        return None
    begin_s, end_s = max(t_s[0] for t_s, _ in of_gpus), min(t_s[-1] for t_s, _ in of_gpus)
    first_s = of_gpus[0][0]
    t_s = first_s[(first_s >= begin_s) & (first_s <= end_s)]
    if len(t_s) < 2:
        return None
    energy_j = sum(np.interp(t_s, *of_gpu) for of_gpu in of_gpus)
    return Readings(t_s=t_s, energy_j=energy_j - energy_j[0])


def limit_w(gpus: Sequence[GpuSamples]) -> float | None:
    """Return the sum of the GPUs' median enforced power limits; None if one of them was not read."""
    if any(np.isnan(gpu.power_limit_w).all() for gpu in gpus):
        return None
    return float(sum(np.nanmedian(gpu.power_limit_w) for gpu in gpus))


def _energy_at_updates(gpu: GpuSamples) -> tuple[Floats, Floats]:
    """Return times and energies of one GPU, from its counter if that is usable, otherwise from its power."""
    read = gpu_readings(gpu)
    counter_j = read.counter.values
    if not read.falls_s and len(counter_j) > 1 and counter_j[-1] > counter_j[0]:
        updates = read.counter.updates()
        return updates.t_s, counter_j[updates.sample]
    if fell_unobserved(read.falls_s) or len(read.power) < 2:
        return np.zeros(0), np.zeros(0)
    return _integrated(read.power)


def _integrated(power: SensorSeries) -> tuple[Floats, Floats]:
    """Return the energy of power that is the mean until its update; linear between samples if every sample is new.

    After one update period without an update, power is assumed to keep its last value.
    """
    updates = power.updates()
    if updates.period_s is None:
        return power.t_s, running_integral(power.t_s, power.values)
    updated_w, gaps_s = power.values[updates.sample], np.diff(updates.t_s)
    new_s = np.minimum(gaps_s, updates.period_s)
    return updates.t_s, running_sum(updated_w[1:] * new_s + updated_w[:-1] * (gaps_s - new_s))
