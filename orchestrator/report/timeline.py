"""The course of one cell: power over time in few enough bins to draw, and the steps of one workflow."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.measure.columns import running_integral

MANY_STEPS = 30
"""Above this number of steps a chart names roles instead of steps, and its bars get thinner."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerTrace:
    """Power of all GPUs of a cell in bins: the mean conserves energy, low and high are the extremes.

    Bin ``i`` lies from ``edges_s[i]`` to ``edges_s[i + 1]`` and is drawn flat, so that a step remains a step.
    """

    edges_s: Floats
    mean_w: Floats
    low_w: Floats
    high_w: Floats

    def stairs(self, watts: Floats) -> tuple[Floats, Floats]:
        """Return times and values of one of the traces, each value held until the next time."""
        return self.edges_s, np.append(watts, watts[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One step of a workflow. Units: s since the workflow arrived; NaN if a time is not known."""

    step: str
    role: str
    ready_s: float
    scheduled_s: float
    first_token_s: float
    finished_s: float

    @property
    def name(self) -> str:
        """Return role and step."""
        return f"{self.role} · {self.step}"

    def spans(self) -> dict[str, tuple[float, float]]:
        """Return start and end of each part; the whole step as ``running`` if only its end is known."""
        if self.scheduled_s == self.scheduled_s and self.first_token_s == self.first_token_s:
            times = (self.ready_s, self.scheduled_s, self.first_token_s, self.finished_s)
            return {part: (times[i], times[i + 1]) for i, part in enumerate(("queue", "prefill", "decode"))}
        return {"running": (self.ready_s, self.finished_s)}


def bar_ticks(bars: Sequence[Bar]) -> tuple[list[int], list[str]]:
    """Return the bars that have names, and the names: role and step, or only roles if there are many bars."""
    if len(bars) <= MANY_STEPS:
        return list(range(len(bars))), [bar.name for bar in bars]
    named: list[int] = []
    start = 0
    for _, run in groupby(bars, lambda bar: bar.role):
        length = sum(1 for _ in run)
        middle = start + (length - 1) // 2
        start += length
        if not named or middle - named[-1] >= len(bars) / MANY_STEPS:
            named.append(middle)
    return named, [bars[index].role for index in named]


def power_trace(power: pa.Table, n_bins: int = 1500) -> PowerTrace | None:
    """Return power summed over devices; None with fewer than two times of samples.

    The bins lie between samples if ``n_bins`` are enough for that; else they are ``n_bins`` equal ones.
    """
    times, watts = _summed(power)
    known = np.unique(times)
    if len(known) < 2:
        return None
    edges = known if len(known) <= n_bins + 1 else np.linspace(known[0], known[-1], n_bins + 1)
    joules = running_integral(times, watts)
    # A straight line between samples has a parabola as its integral: add what the chord leaves out.
    at_edges = np.interp(edges, times, joules) + _bow(edges, times, watts)
    ends = np.stack([_after(edges[:-1], times, watts), _before(edges[1:], times, watts)])
    low, high = ends.min(axis=0), ends.max(axis=0)
    place = np.searchsorted(edges, times, side="right") - 1
    inside = edges[place] < times
    np.minimum.at(low, place[inside], watts[inside])
    np.maximum.at(high, place[inside], watts[inside])
    return PowerTrace(edges_s=edges, mean_w=np.diff(at_edges) / np.diff(edges), low_w=low, high_w=high)


def _bow(edges: Floats, times: Floats, watts: Floats) -> Floats:
    left = np.clip(np.searchsorted(times, edges, side="right") - 1, 0, len(times) - 2)
    span = np.diff(times)[left]
    into = edges - times[left]
    slope = np.divide(np.diff(watts)[left], span, out=np.zeros_like(span), where=span > 0)
    return np.asarray(slope * into * (into - span) / 2, dtype=np.float64)


def _summed(power: pa.Table) -> tuple[Floats, Floats]:
    """Return each time twice, with the sum over devices just before and just after it: a step has both at one time."""
    devices = np.asarray(power.column("device").to_pylist(), dtype=object)
    t_s = power.column("t_s").to_numpy().astype(np.float64)
    power_w = power.column("power_w").to_numpy().astype(np.float64)
    times = np.unique(t_s[np.isfinite(power_w)])
    watts = np.zeros((len(times), 2))
    for device in dict.fromkeys(devices):
        mine = (devices == device) & np.isfinite(power_w)
        if mine.any():
            series = t_s[mine], power_w[mine]
            watts += np.column_stack([_before(times, *series), _after(times, *series)])
    return np.repeat(times, 2), watts.ravel()


def _after(at: Floats, times: Floats, watts: Floats) -> Floats:
    """Return the series at given times; at a step the value after it, which is the last sample of that time."""
    return np.asarray(np.interp(at, times, watts), dtype=np.float64)


def _before(at: Floats, times: Floats, watts: Floats) -> Floats:
    """Return the series at given times; at a step the value before it, which is the first sample of that time."""
    return np.asarray(np.interp(-at[::-1], -times[::-1], watts[::-1])[::-1], dtype=np.float64)


def workflow_bars(steps: pa.Table, requests: pa.Table) -> tuple[Bar, ...]:
    """Return the steps of one workflow in the order they became ready; empty if no step finished.

    It is the workflow of median length among those with the most steps.
    """
    rows = [row for row in steps.to_pylist() if row["finished_s"] is not None]
    if not rows:
        return ()
    counts = Counter(row["workflow_id"] for row in rows)
    most = max(counts.values())
    lengths: dict[str, float] = {}
    for row in rows:
        if counts[row["workflow_id"]] == most:
            length = row["finished_s"] - row["arrival_s"]
            lengths[row["workflow_id"]] = max(length, lengths.get(row["workflow_id"], 0.0))
    chosen = sorted(lengths, key=lambda name: (lengths[name], name))[(len(lengths) - 1) // 2]
    mine = sorted((row for row in rows if row["workflow_id"] == chosen), key=lambda row: (row["ready_s"], row["step"]))
    wanted = pa.array([row["request_id"] for row in mine])
    kept = requests.filter(pc.is_in(requests.column("request_id"), value_set=wanted))
    by_id = {row["request_id"]: row for row in kept.to_pylist()}
    return tuple(_bar(row, by_id.get(row["request_id"], {})) for row in mine)


def _bar(step: dict[str, object], request: dict[str, object]) -> Bar:
    zero = _float(step["arrival_s"])
    return Bar(
        step=str(step["step"]),
        role=str(step["role"]),
        ready_s=_float(step["ready_s"]) - zero,
        scheduled_s=_float(request.get("scheduled_s")) - zero,
        first_token_s=_float(request.get("first_token_s")) - zero,
        finished_s=_float(step["finished_s"]) - zero,
    )


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
