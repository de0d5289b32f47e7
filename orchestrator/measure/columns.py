"""Series as numpy columns: what the summaries compute on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.records.series import by_engine

Floats = npt.NDArray[np.float64]


class Columns:
    """The columns of one series, converted on demand; a null number becomes NaN."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def floats(self, name: str) -> Floats:
        """A numeric column as float64, nulls as NaN; shape (rows,)."""
        column = self._table.column(name).cast(pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    def floats_or_nan(self, name: str) -> Floats:
        """The same, and all NaN where the series, an older one, has no such column."""
        return self.floats(name) if name in self._table.column_names else np.full(len(self), np.nan)

    def strings(self, name: str) -> npt.NDArray[np.object_]:
        """A text column; shape (rows,)."""
        return np.asarray(self._table.column(name).to_pylist(), dtype=object)

    def values(self, name: str) -> list[Any]:
        """A column as Python objects."""
        return list(self._table.column(name).to_pylist())

    def rows(self) -> list[dict[str, Any]]:
        """Row by row, as Python objects."""
        return list(self._table.to_pylist())

    def by_engine(self) -> "list[Columns]":
        """The rows of each engine; of one only, where there are not several."""
        return [Columns(table) for table in by_engine(self._table).values()]


def overlap_ratio(start_s: Floats, end_s: Floats, window: tuple[float, float]) -> Floats:
    """Share of each interval that lies in the window; an instant counts whole if it is inside. Shape (n,)."""
    length_s = end_s - start_s
    inside_s = np.minimum(end_s, window[1]) - np.maximum(start_s, window[0])
    instant = (start_s >= window[0]) & (start_s <= window[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(length_s > 0, np.clip(inside_s, 0, None) / length_s, instant)


def done_by(start_s: Floats, end_s: Floats, when_s: Floats) -> Floats:
    """Share of each interval that is over at each of some times; shape (times, n)."""
    length_s = np.maximum(end_s - start_s, np.finfo(np.float64).tiny)
    shares: Floats = np.clip((when_s[:, None] - start_s) / length_s, 0.0, 1.0)
    return shares


def gaps(start_s: Floats, end_s: Floats, window: tuple[float, float]) -> list[tuple[float, float]]:
    """The parts of the window that no interval covers, in order."""
    found: list[tuple[float, float]] = []
    reached_s = window[0]
    for index in np.argsort(start_s, kind="stable"):
        begin_s = min(float(start_s[index]), window[1])
        if begin_s > reached_s:
            found.append((reached_s, begin_s))
        reached_s = max(reached_s, float(end_s[index]))
    if reached_s < window[1]:
        found.append((reached_s, window[1]))
    return found


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
