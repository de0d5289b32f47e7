"""The samples of one GPU as arrays, and how much of a window each stands for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.measure.columns import Columns, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSamples:
    """What was sampled of one GPU, in order of time; NaN where a value was not read. Shapes (samples,)."""

    device: str
    t_s: Floats
    power_w: Floats
    energy_j: Floats
    sm_clock_mhz: Floats
    temperature_c: Floats
    clock_event_reasons: Floats
    power_limit_w: Floats

    def share(self, which: npt.NDArray[np.bool_], where: npt.NDArray[np.bool_], edges: tuple[float, float]) -> float:
        """Of the window's time that samples ``where`` stand for, the share that is ``which`` too; NaN of no time."""
        held_s = held(self.t_s, edges)
        of_s = float(held_s[where].sum())
        return float(held_s[where & which].sum()) / of_s if of_s > 0 else np.nan

    def event(self, bits: int) -> npt.NDArray[np.bool_]:
        """Which samples have one of NVML's clock-event bits set; none where the mask was not read."""
        known = ~np.isnan(self.clock_event_reasons)
        mask = np.where(known, self.clock_event_reasons, 0).astype(np.int64)
        found: npt.NDArray[np.bool_] = (mask & bits) != 0
        return found


def by_device(power: Columns) -> tuple[GpuSamples, ...]:
    """The samples of each GPU, from the series ``power``; columns that an older record lacks are NaN."""
    devices = power.strings("device")
    columns = {name: power.floats_or_nan(name) for name in GpuSamples.__dataclass_fields__ if name != "device"}
    return tuple(
        GpuSamples(device=str(device), **{name: column[devices == device] for name, column in columns.items()})
        for device in dict.fromkeys(devices)
    )


def held(t_s: Floats, edges: tuple[float, float]) -> Floats:
    """How long each sample stands for what was, in the window: to halfway to its neighbours. Units: s; shape (n,)."""
    if len(t_s) < 2:
        return np.zeros(len(t_s))
    middle_s = (t_s[1:] + t_s[:-1]) / 2
    first_s, last_s = t_s[0] - (t_s[1] - t_s[0]) / 2, t_s[-1] + (t_s[-1] - t_s[-2]) / 2
    bounds_s = np.clip(np.concatenate([[first_s], middle_s, [last_s]]), *edges)
    return np.asarray(np.diff(bounds_s), dtype=np.float64)
