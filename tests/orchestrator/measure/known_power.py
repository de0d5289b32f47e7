"""A GPU's sensor played over power that is a known function of time: what a sampler would have read of it.

As on A100 and H100: every 100 ms the mean of the 25 ms before is shown until the next, and the counter moves as often.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.measure.columns import Columns
from orchestrator.series import POWER

Floats = npt.NDArray[np.float64]
Power = Callable[[Floats], Floats]

_GRID_S = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedSensor:
    """``phase_s`` is when the first update is; the sampler reads every ``read_s``, a little off at random."""

    update_s: float = 0.1
    seen_s: float = 0.025
    counter_s: float = 0.1
    phase_s: float = 0.03
    read_s: float = 0.05
    jitter_s: float = 0.002
    counter_phase_s: float = 0.07

    def samples(self, power: Power, edges_s: tuple[float, float], **constant: object) -> pa.Table:
        """The series ``power`` of one GPU over an interval; ``constant`` columns hold one value, the rest is null."""
        times_s, done_j = _integral(power, edges_s[0] - 1, edges_s[1] + 1)

        def energy_to(when_s: Floats) -> Floats:
            return np.interp(when_s, times_s, done_j)

        noise = np.random.default_rng(0).uniform(-self.jitter_s, self.jitter_s, int(1e6))
        ticks_s = np.arange(*edges_s, self.read_s)
        read_s = ticks_s + noise[: len(ticks_s)]
        shown_s = _last(read_s, self.update_s, self.phase_s)
        counted_s = _last(read_s, self.counter_s, self.counter_phase_s)
        counter_j = energy_to(counted_s)
        columns = {
            "t_s": read_s,
            "device": ["GPU-0"] * len(read_s),
            "power_w": (energy_to(shown_s) - energy_to(shown_s - self.seen_s)) / self.seen_s,
            "energy_j": counter_j - counter_j[0],
        }
        columns |= {name: [value] * len(read_s) for name, value in constant.items()}
        return pa.table(
            {field.name: pa.array(columns.get(field.name, [None] * len(read_s)), field.type) for field in POWER}
        )

    def columns(self, power: Power, edges_s: tuple[float, float], **constant: object) -> Columns:
        """The same as columns."""
        return Columns(self.samples(power, edges_s, **constant))


def truth_j(power: Power, edges_s: tuple[float, float]) -> float:
    """Energy between two instants."""
    return float(_integral(power, *edges_s)[1][-1])


def square(low_w: float, high_w: float, period_s: float) -> Power:
    """Half of each period at either power."""
    return lambda t_s: np.where((t_s / period_s) % 1 < 0.5, high_w, low_w)


def sine(mean_w: float, swing_w: float, frequency_hz: float, phase: float = 0.0) -> Power:
    """Power that goes up and down by ``swing_w``."""
    return lambda t_s: mean_w + swing_w * np.sin(2 * np.pi * frequency_hz * t_s + phase)


def _last(t_s: Floats, period_s: float, phase_s: float) -> Floats:
    return np.floor((t_s - phase_s) / period_s) * period_s + phase_s


def _integral(power: Power, start_s: float, end_s: float) -> tuple[Floats, Floats]:
    edges_s = np.linspace(start_s, end_s, int((end_s - start_s) / _GRID_S) + 1)
    steps_j = power((edges_s[1:] + edges_s[:-1]) / 2) * np.diff(edges_s)
    return edges_s, np.concatenate([[0.0], np.cumsum(steps_j)])
