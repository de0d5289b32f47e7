"""Series as numpy columns, and sums over intervals of time: what the summaries compute with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.records.series import by_engine

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Columns:
    """The columns of one series, converted on demand; a null number becomes NaN."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def floats(self, name: str) -> Floats:
        """Return a numeric column as float64, nulls as NaN; shape (rows,)."""
        column = self._table.column(name).cast(pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    def floats_or_nan(self, name: str) -> Floats:
        """Return a numeric column, or all NaN if the series, an older one, does not have it; shape (rows,)."""
        return self.floats(name) if name in self._table.column_names else np.full(len(self), np.nan)

    def strings(self, name: str) -> npt.NDArray[np.object_]:
        """Return a text column; shape (rows,)."""
        return np.asarray(self._table.column(name).to_pylist(), dtype=object)

    def values(self, name: str) -> list[Any]:
        """Return a column as Python objects."""
        return list(self._table.column(name).to_pylist())

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows as Python objects."""
        return list(self._table.to_pylist())

    def by_engine(self) -> "list[Columns]":
        """Return the rows of each engine; one part if there is one engine."""
        return [Columns(table) for table in by_engine(self._table).values()]


def running_sum(steps: Floats) -> Floats:
    """Return the sums of the first 0, 1, 2, ... steps; shape (steps + 1,)."""
    return np.concatenate([[0.0], np.cumsum(steps)])


def running_integral(t_s: Floats, values: Floats) -> Floats:
    """Return the integral from the first time to each time, by the trapezoid rule; shape (times,), at least one."""
    return running_sum((values[1:] + values[:-1]) / 2 * np.diff(t_s))


def overlap_ratio(start_s: Floats, end_s: Floats, window: tuple[float, float]) -> Floats:
    """Return the share of each interval that lies in the window; 1 for an instant inside. Shape (intervals,)."""
    length_s = end_s - start_s
    inside_s = np.minimum(end_s, window[1]) - np.maximum(start_s, window[0])
    instant = (start_s >= window[0]) & (start_s <= window[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(length_s > 0, np.clip(inside_s, 0, None) / length_s, instant)


def done_by(start_s: Floats, end_s: Floats, when_s: Floats) -> Floats:
    """Return the share of each interval that is over at each of some times; shape (times, intervals)."""
    length_s = np.maximum(end_s - start_s, np.finfo(np.float64).tiny)
    shares: Floats = np.clip((when_s[:, None] - start_s) / length_s, 0.0, 1.0)
    return shares


def gaps(start_s: Floats, end_s: Floats, window: tuple[float, float]) -> list[tuple[float, float]]:
    """Return the parts of the window that no interval covers, in order."""
    uncovered: list[tuple[float, float]] = []
    reached_s = window[0]
    for index in np.argsort(start_s, kind="stable"):
        begin_s = min(float(start_s[index]), window[1])
        if begin_s > reached_s:
            uncovered.append((reached_s, begin_s))
        reached_s = max(reached_s, float(end_s[index]))
    if reached_s < window[1]:
        uncovered.append((reached_s, window[1]))
    return uncovered


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSamples:
    """Samples of one GPU in order of time; NaN for a value that was not read. Shapes (samples,)."""

    device: str
    t_s: Floats
    power_w: Floats
    energy_j: Floats
    sm_clock_mhz: Floats
    temperature_c: Floats
    clock_event_reasons: Floats
    power_limit_w: Floats

    def share(self, which: Flags, where: Flags, edges: tuple[float, float]) -> float:
        """Return the share of the samples ``where`` that are ``which`` too, weighted by time in the window.

        NaN if the samples ``where`` cover no time of the window.
        """
        weights_s = sample_weights_s(self.t_s, edges)
        total_s = float(weights_s[where].sum())
        return float(weights_s[where & which].sum()) / total_s if total_s > 0 else np.nan

    def event(self, bits: int) -> Flags:
        """Return which samples have one of NVML's clock-event bits set; False if the mask was not read."""
        known = ~np.isnan(self.clock_event_reasons)
        mask = np.where(known, self.clock_event_reasons, 0).astype(np.int64)
        has_event: Flags = (mask & bits) != 0
        return has_event


def by_device(power: Columns) -> tuple[GpuSamples, ...]:
    """Return the samples of each GPU from the series ``power``, in the order of their first samples.

    Columns that an older record does not have are NaN.
    """
    devices = power.strings("device")
    columns = {name: power.floats_or_nan(name) for name in GpuSamples.__dataclass_fields__ if name != "device"}
    return tuple(
        GpuSamples(device=str(device), **{name: column[devices == device] for name, column in columns.items()})
        for device in dict.fromkeys(devices)
    )


def sample_weights_s(t_s: Floats, edges: tuple[float, float]) -> Floats:
    """Return the time in the window that is closest to each sample. Units: s; shape (samples,)."""
    if len(t_s) < 2:
        return np.zeros(len(t_s))
    middle_s = (t_s[1:] + t_s[:-1]) / 2
    first_s, last_s = t_s[0] - (t_s[1] - t_s[0]) / 2, t_s[-1] + (t_s[-1] - t_s[-2]) / 2
    bounds_s = np.clip(np.concatenate([[first_s], middle_s, [last_s]]), *edges)
    return np.asarray(np.diff(bounds_s), dtype=np.float64)
