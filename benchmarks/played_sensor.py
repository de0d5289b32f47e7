"""A sensor that is played to attribution: what a sampler would have read of GPUs whose energy is known."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.measure.columns import Columns, Floats
from orchestrator.series import POWER

Counter = Literal["exact", "sampled", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """As A100 and H100 have it (arXiv 2312.02741): renewed every 100 ms, power the mean of the last 25 ms of these.

    The counter is ``exact``, or ``sampled``: a sum of these windows, each taken for the whole period, or there is
    ``none``. A sampler asks every ``poll_s``; power is off by ``noise_ratio`` from one renewal to the next, and each
    device by ``gain_ratio``, uniformly to either side, power and counter alike.
    """

    renewed_s: float = 0.1
    window_s: float = 0.025
    poll_s: float = 0.05
    poll_jitter_s: float = 0.002
    noise_ratio: float = 0.02
    gain_ratio: float = 0.0
    counter: Counter = "exact"
    seed: int = 0


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
    tables = [_device(f"GPU-{first_gpu + index}", truth, sensor, draw) for index in range(n_gpus)]
    return pa.concat_tables(tables)


def _true_energy(iterations: Columns, idle_power_w: float, n_gpus: int, end_s: float) -> tuple[Floats, Floats]:
    """Energy of one GPU since 0: knots of a line that is straight between them."""
    start_s, stop_s, energy_j = (iterations.floats(name) for name in ("start_s", "end_s", "energy_j"))
    knots_s = np.concatenate([[0.0], np.stack([start_s, stop_s], axis=1).ravel(), [end_s]])
    gaps_j = idle_power_w * np.diff(knots_s)
    gaps_j[1::2] = energy_j / n_gpus
    return knots_s, np.concatenate([[0.0], np.cumsum(gaps_j)])


def _device(name: str, truth: tuple[Floats, Floats], sensor: Sensor, draw: np.random.Generator) -> pa.Table:
    knots_s, true_j = truth
    end_s = float(knots_s[-1])
    gain = 1 + sensor.gain_ratio * draw.uniform(-1, 1)
    renewed_s = np.arange(draw.uniform(0, sensor.renewed_s), end_s, sensor.renewed_s)
    counter_j = gain * np.interp(renewed_s, knots_s, true_j)
    before_j = gain * np.interp(renewed_s - sensor.window_s, knots_s, true_j)
    noise = 1 + sensor.noise_ratio * draw.standard_normal(len(renewed_s))
    power_w = (counter_j - before_j) / sensor.window_s * noise
    polled_s = np.arange(draw.uniform(0, sensor.poll_s), end_s, sensor.poll_s)
    polled_s = polled_s + draw.uniform(0, sensor.poll_jitter_s, len(polled_s))
    told = np.searchsorted(renewed_s, polled_s, side="right") - 1
    polled_s, told = polled_s[told >= 0], told[told >= 0]
    columns: dict[str, npt.NDArray[np.generic]] = {"t_s": polled_s, "power_w": power_w[told]}
    if sensor.counter == "sampled":
        counter_j = np.cumsum(power_w * sensor.renewed_s)
    if sensor.counter != "none":
        counter_j = np.round(counter_j, 3)  # it is in mJ
        columns["energy_j"] = counter_j[told] - counter_j[told[0]]
    rows = len(polled_s)
    arrays = [
        pa.array([name] * rows, field.type)
        if field.name == "device"
        else pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in POWER
    ]
    return pa.Table.from_arrays(arrays, schema=POWER)
