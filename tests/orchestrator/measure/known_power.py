"""Power as a known function of time, and its samples through a sensor without noise."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.played_sensor import Sensor, sensed
from orchestrator.measure.columns import Columns

Floats = npt.NDArray[np.float64]
Power = Callable[[Floats], Floats]

_GRID_S = 0.0005
_BEYOND_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedSensor:
    """`Sensor` without noise; ``phase_s`` and ``counter_phase_s`` are the first updates of power and counter."""

    counter_s: float = 0.1
    phase_s: float = 0.03
    counter_phase_s: float = 0.07

    def samples(self, power: Power, edges_s: tuple[float, float], **constant: float) -> pa.Table:
        """Return the series ``power`` of one GPU; ``constant`` columns hold one value, the rest is null."""
        sensor = Sensor(
            noise_ratio=0.0, phase_s=self.phase_s, counter_s=self.counter_s, counter_phase_s=self.counter_phase_s
        )
        truth = _integral(power, edges_s[0] - _BEYOND_S, edges_s[1] + _BEYOND_S)
        return sensed("GPU-0", truth, sensor, np.random.default_rng(0), edges_s=edges_s, constant=constant)

    def columns(self, power: Power, edges_s: tuple[float, float], **constant: float) -> Columns:
        """Return the samples as columns."""
        return Columns(self.samples(power, edges_s, **constant))


def truth_j(power: Power, edges_s: tuple[float, float]) -> float:
    """Return the energy between two instants."""
    return float(_integral(power, *edges_s)[1][-1])


def square(low_w: float, high_w: float, period_s: float) -> Power:
    """Return power that is high in the first half of each period, and low in the second."""
    return lambda t_s: np.where((t_s / period_s) % 1 < 0.5, high_w, low_w)


def sine(mean_w: float, swing_w: float, frequency_hz: float, phase: float = 0.0) -> Power:
    """Return sinusoidal power with the amplitude ``swing_w``."""
    return lambda t_s: mean_w + swing_w * np.sin(2 * np.pi * frequency_hz * t_s + phase)


def _integral(power: Power, start_s: float, end_s: float) -> tuple[Floats, Floats]:
    edges_s = np.linspace(start_s, end_s, int((end_s - start_s) / _GRID_S) + 1)
    steps_j = power((edges_s[1:] + edges_s[:-1]) / 2) * np.diff(edges_s)
    return edges_s, np.concatenate([[0.0], np.cumsum(steps_j)])
