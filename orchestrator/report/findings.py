"""Findings: sentences about a sweep with numbers and the cells they come from.

Every function is pure over the points of ``orchestrator.analysis.pooling``. It returns None if the sweep does not
support the sentence: the axis does not vary, a metric is missing, or a point failed. If both points of a comparison
have repeats and their 95 % intervals overlap, the sentence says that the difference is not resolved.
"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.analysis.axes import CAP, Axes, Axis
from orchestrator.analysis.pooling import HALF, energy_metric, latency_metric
from orchestrator.records.metrics import INERT_BELOW
from orchestrator.records.text_format import capital, metric_name, metric_value, more_or_less, percent
from orchestrator.report.panels import FrontMember, front_panels

SPARE_TIME = 0.02
"""Largest relative increase of latency at which a cap counts as costing almost no time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about one panel; ``panel`` is empty if it is about the whole sweep."""

    panel: str
    text: str
    cells: tuple[str, ...]


def find(points: pd.DataFrame, axes: Axes) -> tuple[Finding, ...]:
    """Return all findings: first those about several panels, then panel by panel."""
    spanned = [axis for axis in (axes.x, axes.y) if axis is not None]
    findings: list[Finding | None] = [strongest_axis(points, axis, axes) for axis in spanned]
    for panel in dict.fromkeys(points["panel"]):
        mine = points[points["panel"] == panel]
        findings += [least_energy(mine), front_members(mine)]
        findings += [axis_effect(mine, axis, axes) for axis in spanned]
        findings += [spare_cap(mine, axes), inert_caps(mine, axes)]
    return tuple(finding for finding in findings if finding is not None)


def least_energy(points: pd.DataFrame) -> Finding | None:
    """Return the point of least energy, and its energy and latency against the fastest point."""
    energy, latency = energy_metric(points), latency_metric(points)
    members = [member for panel in front_panels(points) for member in panel.members]
    if energy is None or latency is None or len(points) < 2 or not members:
        return None
    best, fastest = _row(points, members[-1]), _row(points, members[0])
    unit = energy.removeprefix("gpu_energy_j_").replace("_", " ")
    text = f"Least energy: {members[-1].label}, {_value(best, energy)} {unit} at {_value(best, latency)}"
    text += f" {metric_name(latency)}."
    if len(members) == 1:
        return Finding(best["panel"], f"{text} It is also the fastest.", members[0].cells)
    text += f" Against the fastest ({members[0].label}): {more_or_less(best[energy], fastest[energy], 'energy')}"
    text += f", {more_or_less(best[latency], fastest[latency], 'time')}."
    return Finding(best["panel"], text + _unresolved(best, fastest, energy), members[-1].cells + members[0].cells)


def axis_effect(points: pd.DataFrame, axis: Axis, axes: Axes) -> Finding | None:
    """Return the change from one end of an axis to the other, the other axis at its highest level."""
    ends = _ends(points, axis, axes)
    energy = energy_metric(points)
    if ends is None or energy is None:
        return None
    start, end, held = ends
    if not (math.isfinite(start[energy]) and math.isfinite(end[energy])):
        return None
    text = f"From {axis.label(start[axis.key])} to {axis.label(end[axis.key])}{held}: "
    text += f"{metric_name(energy)} {_value(start, energy)} → {_value(end, energy)} ({_change(end, start, energy)})"
    latency = latency_metric(points)
    if latency is not None and math.isfinite(start[latency]) and math.isfinite(end[latency]):
        text += f", {metric_name(latency)} {_change(end, start, latency)}"
    return Finding(start["panel"], text + "." + _unresolved(start, end, energy), start["cells"] + end["cells"])


def strongest_axis(points: pd.DataFrame, axis: Axis, axes: Axes) -> Finding | None:
    """Return the panels in which energy changes most and least from one end of an axis to the other."""
    energy = energy_metric(points)
    ratios: dict[str, tuple[float, tuple[str, ...]]] = {}
    for panel in dict.fromkeys(points["panel"]):
        ends = _ends(points[points["panel"] == panel], axis, axes)
        if ends is not None and energy is not None:
            start, end, _ = ends
            ratio = end[energy] / start[energy] if start[energy] > 0 else math.nan
            if math.isfinite(ratio) and ratio > 0:
                ratios[panel] = ratio, start["cells"] + end["cells"]
    if len(ratios) < 2:
        return None
    ranked = sorted(ratios, key=lambda panel: abs(math.log(ratios[panel][0])))
    least, most = ranked[0], ranked[-1]
    first, last = _direction(axis)
    text = (
        f"{capital(axis.title.partition(' (')[0])}, {axis.label(first)} to {axis.label(last)}: changes "
        f"{metric_name(str(energy))} most for {most} ({percent(ratios[most][0], 1)}) "
        f"and least for {least} ({percent(ratios[least][0], 1)}).{_least_between(points, axis, axes)}"
    )
    return Finding("", text, ratios[most][1] + ratios[least][1])


def inert_caps(points: pd.DataFrame, axes: Axes) -> Finding | None:
    """Return the power caps below the highest that limited the clock at no point of the panel."""
    if not any(axis.key == CAP for axis in axes.all) or "cap_bound_ratio" not in points:
        return None
    known = points.dropna(subset=["cap_bound_ratio"])
    largest = known.groupby(CAP)["cap_bound_ratio"].max()
    caps = sorted(float(cap) for cap in dict.fromkeys(points[CAP]) if isinstance(cap, int | float))
    inert = [cap for cap in caps[:-1] if largest.get(cap, math.inf) < INERT_BELOW]
    if not inert:
        return None
    cells = tuple(cell for row in known[known[CAP].isin(inert)]["cells"] for cell in row)
    listed = ", ".join(f"{cap:g}" for cap in inert)
    subject = f"The cap of {listed} W is" if len(inert) == 1 else f"The caps of {listed} W are"
    return Finding(known["panel"].iloc[0], f"{subject} inert: the clock was never held down.", cells)


def front_members(points: pd.DataFrame) -> Finding | None:
    """Return the points that no other point beats in both energy and latency."""
    for panel in front_panels(points):
        cells = tuple(cell for member in panel.members for cell in member.cells)
        known = len(set(zip(panel.latencies_s, panel.energies_j, strict=True)))
        if known < 3:
            return None
        if len(panel.members) == 1:
            text = f"One point beats the {known - 1} others in energy and latency at once: {panel.members[0].label}."
        else:
            names = [member.label for member in panel.members]
            listed = "; ".join(names) if len(names) <= 4 else f"{names[0]} (fastest) to {names[-1]} (least energy)"
            text = f"{len(names)} of {known} distinct points make the energy\u2013latency front: {listed}."
        return Finding(panel.name, text, cells)
    return None


def spare_cap(points: pd.DataFrame, axes: Axes) -> Finding | None:
    """Return the lowest power cap that costs almost no time at the highest level of the other axis."""
    energy, latency = energy_metric(points), latency_metric(points)
    axis = next((axis for axis in (axes.x, axes.y) if axis is not None and axis.key == CAP), None)
    if axis is None or energy is None or latency is None:
        return None
    ends = _ends(points, axis, axes)
    if ends is None:
        return None
    top, _, held = ends
    line = _held(points, axis, axes)
    close = line[line[latency] <= (1 + SPARE_TIME) * top[latency]]
    if close.empty or close[CAP].min() >= top[CAP]:
        return None
    low = close.loc[close[CAP].idxmin()]
    text = (
        f"The cap can go down to {axis.label(low[CAP])}{held} for at most {100 * SPARE_TIME:g} % more time: "
        f"{more_or_less(low[latency], top[latency], metric_name(latency))}, "
        f"{more_or_less(low[energy], top[energy], 'energy')}."
    )
    return Finding(low["panel"], text, low["cells"] + top["cells"])


def _ends(points: pd.DataFrame, axis: Axis, axes: Axes) -> tuple[pd.Series, pd.Series, str] | None:
    """Return the points at the start and the end of an axis, and the words for the level of the other axis."""
    other = axes.y if axis == axes.x else axes.x
    held = f" at {other.label(other.levels[-1])}" if other is not None else ""
    line = _held(points, axis, axes)
    start, end = (line[line[axis.key] == level] for level in _direction(axis))
    return None if start.empty or end.empty else (start.iloc[0], end.iloc[0], held)


def _direction(axis: Axis) -> tuple[Any, Any]:
    """Return the levels where an axis starts and ends: from low to high, but a cap from high to low."""
    return (axis.levels[-1], axis.levels[0]) if axis.key == CAP else (axis.levels[0], axis.levels[-1])


def _least_between(points: pd.DataFrame, axis: Axis, axes: Axes) -> str:
    """Return a sentence about the levels of least energy if no panel has its least energy at an end of the axis."""
    energy = energy_metric(points)
    line = _held(points, axis, axes).dropna(subset=[energy])
    least = [mine[axis.key].iloc[int(mine[energy].argmin())] for _, mine in line.groupby("panel")]
    if any(level in (axis.levels[0], axis.levels[-1]) for level in least):
        return ""
    listed = " or ".join(axis.label(level) for level in sorted(set(least)))
    return f" The least energy is at {listed} in every panel."


def _held(points: pd.DataFrame, axis: Axis, axes: Axes) -> pd.DataFrame:
    other = axes.y if axis == axes.x else axes.x
    return points if other is None else points[points[other.key] == other.levels[-1]]


def _value(point: pd.Series, metric: str) -> str:
    return metric_value(metric, point[metric])


def _change(new: pd.Series, old: pd.Series, metric: str) -> str:
    return percent(new[metric], old[metric])


def _row(points: pd.DataFrame, member: FrontMember) -> pd.Series:
    """Return the row of a member of a front: the first of those it merges."""
    return points[[cells[0] == member.cells[0] for cells in points["cells"]]].iloc[0]


def _unresolved(one: pd.Series, other: pd.Series, metric: str) -> str:
    gap = abs(one[metric] - other[metric])
    overlap = gap <= one[HALF + metric] + other[HALF + metric]
    return " The 95 % intervals of energy overlap: the difference is not resolved." if overlap else ""
