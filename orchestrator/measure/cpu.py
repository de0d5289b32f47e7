"""Energy of the CPUs over a window."""

import numpy as np

from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.window import Window

_KINDS = {"package": "cpu_energy_j", "dram": "dram_energy_j"}


def cpu_energy_metrics(cpu_power: Columns, window: Window) -> dict[str, float]:
    """Energy of all packages, and of all memory, of the node; absent where a counter does not cover the window."""
    devices, t_s, energy_j = cpu_power.strings("device"), cpu_power.floats("t_s"), cpu_power.floats("energy_j")
    found: dict[str, float] = {}
    for kind, key in _KINDS.items():
        names = [name for name in dict.fromkeys(devices) if str(name).startswith(f"{kind}-")]
        total_j = sum(_delta_j(t_s[devices == name], energy_j[devices == name], window) for name in names)
        if names and not np.isnan(total_j) and window.length_s > 0:
            found[key] = float(total_j)
    return found


def _delta_j(t_s: Floats, energy_j: Floats, window: Window) -> float:
    """RAPL moves every millisecond: between reads a line is good enough. NaN beyond them."""
    known = ~np.isnan(energy_j)
    if not known.any():
        return np.nan
    start_j, end_j = np.interp((window.start_s, window.end_s), t_s[known], energy_j[known], left=np.nan, right=np.nan)
    return float(end_j - start_j)
