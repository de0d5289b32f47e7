"""A sensor that is played: what a sampler would have read of GPUs whose energy is known."""

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
"""Energy of one GPU up to some instants, a line that is straight between them. Units: s, J."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """As A100 and H100 have it (arXiv 2312.02741): renewed every 100 ms, power the mean of the last 25 ms of these.

    The counter is ``exact``, or ``sampled``: a sum of these windows, each taken for the whole period, or there is
    ``none``. A sampler asks every ``poll_s``; power is off by ``noise_ratio`` from one renewal to the next, and each
    device by ``gain_ratio``, uniformly to either side, power and counter alike. When a renewal is, is drawn unless
    ``phase_s`` says so; an exact counter moves with it unless ``counter_s`` and ``counter_phase_s`` are given.
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
    """The series ``power`` of the GPUs of one engine, from the energies of its iterations; until ``end_s``."""
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
    """The series ``power`` of one GPU between two instants; ``constant`` columns hold one value."""
    knots_s, true_j = truth
    gain = 1 + sensor.gain_ratio * draw.uniform(-1, 1)
    phase_s = draw.uniform(0, sensor.renewed_s) if sensor.phase_s is None else sensor.phase_s
    renewed_s = _renewals(knots_s, sensor.renewed_s, phase_s)
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
        shown_j = _shown(polled_s, counted_s, np.round(counter_j, 3))  # it is in mJ
        columns["energy_j"] = shown_j - shown_j[0]
    return power_table(columns | {name: [value] * len(polled_s) for name, value in (constant or {}).items()})


def _true_energy(iterations: Columns, idle_power_w: float, n_gpus: int, end_s: float) -> Truth:
    """Energy of one GPU since 0."""
    start_s, stop_s, energy_j = (iterations.floats(name) for name in ("start_s", "end_s", "energy_j"))
    knots_s = np.concatenate([[0.0], np.stack([start_s, stop_s], axis=1).ravel(), [end_s]])
    gaps_j = idle_power_w * np.diff(knots_s)
    gaps_j[1::2] = energy_j / n_gpus
    return knots_s, np.concatenate([[0.0], np.cumsum(gaps_j)])


def _counter(sensor: Sensor, truth: Truth, renewed_s: Floats, power_w: Floats) -> Truth:
    """When the counter moves, and to what."""
    if sensor.counter == "sampled":
        return renewed_s, np.cumsum(power_w * sensor.renewed_s)
    moved_s = renewed_s
    if sensor.counter_s is not None:
        phase_s = float(renewed_s[0]) if sensor.counter_phase_s is None else sensor.counter_phase_s
        moved_s = _renewals(truth[0], sensor.counter_s, phase_s)
    return moved_s, np.interp(moved_s, *truth)


def _renewals(knots_s: Floats, period_s: float, phase_s: float) -> Floats:
    """Instants at which something is renewed, while the truth is known."""
    begin_s = float(knots_s[0])
    return np.arange(begin_s + (phase_s - begin_s) % period_s, float(knots_s[-1]), period_s, dtype=np.float64)


def _shown(polled_s: Floats, renewed_s: Floats, values: Floats) -> Floats:
    """A value is shown until the next one comes."""
    return values[np.searchsorted(renewed_s, polled_s, side="right") - 1]
