"""Idle power of an engine's GPUs before and after the engine is loaded, and the energy of loading it."""

import math
import time
from dataclasses import dataclass, field

from orchestrator.measure.columns import Columns, by_device
from orchestrator.measure.gpu_energy import gpu_energy
from orchestrator.monitor.instruments import Instruments


@dataclass(slots=True)
class LanePower:
    """Power and energy around one engine start, summed over its GPUs; None if not measured."""

    instruments: Instruments
    _begun_s: float = field(default_factory=time.monotonic)

    def bare_idle_w(self, length_s: float) -> float | None:
        """Return the mean power of the next ``length_s`` without an engine (W). The start counts from the return."""
        power_w = self._mean_w(length_s)
        self._begun_s = time.monotonic()
        return power_w

    def started(self, idle_s: float) -> tuple[float | None, float | None]:
        """Return the energy since `bare_idle_w` (J), and the mean power of the next ``idle_s`` with an engine (W)."""
        start_j = self._energy_j(self._begun_s, time.monotonic())
        return start_j, self._mean_w(idle_s)

    def _mean_w(self, length_s: float) -> float | None:
        if length_s <= 0:
            return None
        begun_s = time.monotonic()
        energy_j = self._energy_j(begun_s, begun_s + length_s)
        return None if energy_j is None else energy_j / length_s

    def _energy_j(self, begun_s: float, end_s: float) -> float | None:
        """Wait for the end of the span; return its energy by the counter, or by the integral without a counter."""
        power = self.instruments.series(begun_s, end_s).get("power")
        if power is None:
            return None
        energies_j = [
            gpu_energy(each, computed=False).energy_j((0.0, end_s - begun_s)) for each in by_device(Columns(power))
        ]
        is_whole = not any(map(math.isnan, energies_j)) and len(energies_j) >= len(self.instruments.gpus)
        return sum(energies_j) if is_whole else None
