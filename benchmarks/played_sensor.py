"""A model of a GPU's power sensor: what a sampler would read from GPUs whose energy is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.measure.columns import Columns, Floats
from orchestrator.records.series import power_table

Counter = Literal["exact", "sampled", "none"]
Truth = tuple[Floats, Floats]
"""Instants and the energy of one GPU until then, linear between them. Units: s, J."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A sensor; the defaults are those of A100 and H100 (arXiv 2312.02741): updates every 100 ms, mean of 25 ms.

    The energy counter is ``exact``, ``sampled`` (the sum of the averaging windows, each scaled to the whole period), or
    ``none``. A sampler polls every ``poll_s``. ``noise_ratio`` is the standard deviation of each update, ``gain_ratio``
    the largest gain error of a device, uniform to either side, in power and counter. The phase of the updates is drawn
    unless ``phase_s`` is given. An exact counter is updated with the power unless ``counter_s`` and
    ``counter_phase_s`` are given.
    """

    renewed_s: float = 0.1
    window_s: float = 0.025
    poll_s: float = 0.05
    poll_jitter_s: float = 0.002
    noise_ratio: float = 0.02
    gain_ratio: float = 0.0
    counter: Counter = "exact"
    seed: int = 0
    phase_s: float | None = None
    counter_s: float | None = None
    counter_phase_s: float | None = None


def played_power(
    iterations: pa.Table,
    *,
    idle_power_w: float,
    n_gpus: int,
    end_s: float,
    sensor: Sensor | None = None,
    first_gpu: int = 0,
) -> pa.Table:
    """Return the series ``power`` of the GPUs of one engine until ``end_s``, from the energies of its iterations."""
    sensor = sensor if sensor is not None else Sensor()
    draw = np.random.default_rng(sensor.seed + first_gpu)
    truth = _true_energy(Columns(iterations), idle_power_w, n_gpus, end_s)
    names = [f"GPU-{first_gpu + index}" for index in range(n_gpus)]
    return pa.concat_tables([sensed(name, truth, sensor, draw, edges_s=(0.0, end_s)) for name in names])


def sensed(
    device: str,
    truth: Truth,
    sensor: Sensor,
    draw: np.random.Generator,
    *,
    edges_s: tuple[float, float],
    constant: Mapping[str, float] | None = None,
) -> pa.Table:
    """Return the series ``power`` of one GPU between two instants; ``constant`` columns hold one value."""
    knots_s, true_j = truth
    gain = 1 + sensor.gain_ratio * draw.uniform(-1, 1)
    phase_s = draw.uniform(0, sensor.renewed_s) if sensor.phase_s is None else sensor.phase_s
    renewed_s = _updates(knots_s, sensor.renewed_s, phase_s)
    until_j, before_j = (gain * np.interp(t_s, knots_s, true_j) for t_s in (renewed_s, renewed_s - sensor.window_s))
    noise = 1 + sensor.noise_ratio * draw.standard_normal(len(renewed_s))
    power_w = (until_j - before_j) / sensor.window_s * noise
    counted_s, counter_j = _counter(sensor, (knots_s, gain * true_j), renewed_s, power_w)
    polled_s = np.arange(edges_s[0] + draw.uniform(0, sensor.poll_s), edges_s[1], sensor.poll_s)
    polled_s = polled_s + draw.uniform(0, sensor.poll_jitter_s, len(polled_s))
    polled_s = polled_s[polled_s >= max(renewed_s[0], counted_s[0])]
    columns: dict[str, npt.ArrayLike] = {
        "t_s": polled_s,
        "device": [device] * len(polled_s),
        "power_w": _shown(polled_s, renewed_s, power_w),
    }
    if sensor.counter != "none":
        shown_j = _shown(polled_s, counted_s, np.round(counter_j, 3))  # the counter is in mJ
        columns["energy_j"] = shown_j - shown_j[0]
    return power_table(columns | {name: [value] * len(polled_s) for name, value in (constant or {}).items()})


def _true_energy(iterations: Columns, idle_power_w: float, n_gpus: int, end_s: float) -> Truth:
    """Return the energy of one GPU since 0."""
    start_s, stop_s, energy_j = (iterations.floats(name) for name in ("start_s", "end_s", "energy_j"))
    knots_s = np.concatenate([[0.0], np.stack([start_s, stop_s], axis=1).ravel(), [end_s]])
    gaps_j = idle_power_w * np.diff(knots_s)
    gaps_j[1::2] = energy_j / n_gpus
    return knots_s, np.concatenate([[0.0], np.cumsum(gaps_j)])


def _counter(sensor: Sensor, truth: Truth, renewed_s: Floats, power_w: Floats) -> Truth:
    """Return when the counter is updated, and its values."""
    if sensor.counter == "sampled":
        return renewed_s, np.cumsum(power_w * sensor.renewed_s)
    moved_s = renewed_s
    if sensor.counter_s is not None:
        phase_s = float(renewed_s[0]) if sensor.counter_phase_s is None else sensor.counter_phase_s
        moved_s = _updates(truth[0], sensor.counter_s, phase_s)
    return moved_s, np.interp(moved_s, *truth)


def _updates(knots_s: Floats, period_s: float, phase_s: float) -> Floats:
    """Return the instants of the updates within the known time."""
    begin_s = float(knots_s[0])
    return np.arange(begin_s + (phase_s - begin_s) % period_s, float(knots_s[-1]), period_s, dtype=np.float64)


def _shown(polled_s: Floats, renewed_s: Floats, values: Floats) -> Floats:
    """Return the latest value at each poll."""
    return values[np.searchsorted(renewed_s, polled_s, side="right") - 1]
