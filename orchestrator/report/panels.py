"""The numbers of each figure, apart from how it is drawn: heat maps, fronts, latency curves, energy shares."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from orchestrator.analysis.axes import Axes, Axis
from orchestrator.analysis.pooling import HALF, WITHIN, energy_metric, latency_metric, shown_half_widths
from orchestrator.analysis.text_format import number
from orchestrator.report.theme import PERCENTILES

Values = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatPanel:
    """Means of a metric over two axes, ``rows[y][x]``; NaN where there is no cell. ``best``: (x, y) of the least."""

    name: str
    x_labels: tuple[str, ...]
    y_labels: tuple[str, ...]
    rows: tuple[Values, ...]
    texts: tuple[tuple[str, ...], ...]
    best: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontMember:
    """A point on the front; points of equal cost are one member that carries all their names.

    The halves are half-widths of 95 % intervals, the widest of its points; None where there is one repeat.
    """

    label: str
    latency_s: float
    energy_j: float
    cells: tuple[str, ...]
    latency_half_s: float | None = None
    energy_half_j: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPanel:
    """Every point of a panel and those on its front, fastest first."""

    name: str
    labels: tuple[str, ...]
    latencies_s: Values
    energies_j: Values
    members: tuple[FrontMember, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A metric along the x axis; ``halves`` are half-widths of 95 % intervals, NaN where there is none."""

    xs: tuple[float | str, ...]
    values: Values
    halves: Values


def panel_names(points: pd.DataFrame) -> tuple[str, ...]:
    """The panels, in the order they are met."""
    return tuple(dict.fromkeys(points["panel"]))


def heat_panels(points: pd.DataFrame, x: Axis, y: Axis, metric: str) -> tuple[HeatPanel, ...]:
    """One panel for each combination of the other axes."""
    return tuple(_heat(name, points[points["panel"] == name], x, y, metric) for name in panel_names(points))


def _heat(name: str, points: pd.DataFrame, x: Axis, y: Axis, metric: str) -> HeatPanel:
    found = {
        (row[x.key], row[y.key]): (row[metric], row[HALF + metric], row.get(WITHIN + metric, math.nan))
        for _, row in points.iterrows()
    }
    missing = (math.nan, math.nan, math.nan)
    cells = [[found.get((column, line), missing) for column in x.levels] for line in y.levels]
    flat = [(value, (i, j)) for j, row in enumerate(cells) for i, (value, *_) in enumerate(row) if math.isfinite(value)]
    return HeatPanel(
        name=name,
        x_labels=tuple(f"{level:g}" for level in x.levels),
        y_labels=tuple(f"{level:g}" for level in y.levels),
        rows=tuple(tuple(value for value, *_ in row) for row in cells),
        texts=tuple(tuple(with_interval(*cell) for cell in row) for row in cells),
        best=tuple(place for value, place in flat if math.isclose(value, min(flat)[0])),
    )


def with_interval(value: float, half: float, within: float = math.nan) -> str:
    """``812`` or, where there are repeats, ``± 14`` on a second line; in brackets the half-width within a window.

    Empty where there is no value.
    """
    if not math.isfinite(value):
        return ""
    if math.isfinite(half):
        return f"{number(value)}\n± {number(half, digits=2)}"
    return f"{number(value)}\n(± {number(within, digits=2)})" if math.isfinite(within) else number(value)


def front_panels(points: pd.DataFrame) -> tuple[FrontPanel, ...]:
    """Energy against latency of every panel; empty where either was not measured."""
    energy, latency = energy_metric(points), latency_metric(points)
    if energy is None or latency is None:
        return ()
    known = points.dropna(subset=[energy, latency])
    return tuple(_front(name, known[known["panel"] == name], energy, latency) for name in panel_names(known))


def _front(name: str, points: pd.DataFrame, energy: str, latency: str) -> FrontPanel:
    latencies_s = tuple(_equal_if_close(value / 1000) for value in points[latency])
    energies_j = tuple(_equal_if_close(value) for value in points[energy])
    members: dict[tuple[float, float], list[int]] = {}
    for index in pareto_front(list(zip(latencies_s, energies_j, strict=True))):
        members.setdefault((latencies_s[index], energies_j[index]), []).append(index)
    return FrontPanel(
        name=name,
        labels=tuple(points["label"]),
        latencies_s=latencies_s,
        energies_j=energies_j,
        members=tuple(
            FrontMember(
                label=merged_label([points["label"].iloc[index] for index in indices]),
                latency_s=cost[0],
                energy_j=cost[1],
                cells=tuple(cell for index in indices for cell in points["cells"].iloc[index]),
                latency_half_s=_half(points, latency, indices, 1e-3),
                energy_half_j=_half(points, energy, indices, 1.0),
            )
            for cost, indices in members.items()
        ),
    )


def _half(points: pd.DataFrame, metric: str, indices: list[int], unit: float) -> float | None:
    widths = points[HALF + metric].iloc[indices].dropna() if HALF + metric in points else ()
    return unit * float(max(widths)) if len(widths) else None


def _equal_if_close(value: float) -> float:
    """Nine digits: what differs only by the order of a summation is one cost."""
    return float(f"{value:.9g}")


def merged_label(labels: list[str]) -> str:
    """One name for points of equal cost: ``8 seqs, 280 W`` and ``8 seqs, 340 W`` give ``8 seqs, 280/340 W``.

    Points that do not fill a grid of levels keep their own names.
    """
    parts = [label.split(", ") for label in labels]
    levels = [list(dict.fromkeys(place)) for place in zip(*parts, strict=True)]
    if len(labels) == 1 or math.prod(len(level) for level in levels) != len(set(labels)):
        return " = ".join(labels)
    return ", ".join(_merged_levels(level) for level in levels)


def _merged_levels(levels: list[str]) -> str:
    numbers, _, units = zip(*(level.partition(" ") for level in levels), strict=True)
    if len({re.sub(r"s\b", "", unit) for unit in units}) > 1:
        return "/".join(levels)
    return f"{'/'.join(numbers)} {units[-1]}".rstrip()


def latency_unit(points: pd.DataFrame, latency: str) -> str:
    """Seconds where the largest drawn percentile of a latency passes five of them, else milliseconds."""
    keys = [f"{statistic}_{latency}_ms" for statistic in PERCENTILES if f"{statistic}_{latency}_ms" in points]
    return "s" if keys and points[keys].max().max() > 5000 else "ms"


def lines(points: pd.DataFrame, axes: Axes) -> dict[tuple[str, float | None], pd.DataFrame]:
    """The points of each panel at each level of the second axis; at None where there is none."""
    if axes.y is None:
        return {(str(panel), None): mine for panel, mine in points.groupby("panel", sort=False)}
    of_level = {level: points[points[axes.y.key] == level] for level in axes.y.levels}
    return {
        (str(panel), level): mine
        for level, found in of_level.items()
        for panel, mine in found.groupby("panel", sort=False)
    }


def curve(line: pd.DataFrame, axes: Axes, metric: str, *, scale: float = 1) -> Curve:
    """A metric of one of `lines` along the x axis; by label where nothing numeric varies."""
    known = line[metric].notna().to_numpy()
    xs = line[axes.x.key if axes.x is not None else "label"].to_numpy()[known].tolist()
    values, halves = (scale * column.to_numpy()[known] for column in (line[metric], shown_half_widths(line, metric)))
    return Curve(xs=tuple(xs), values=tuple(values.tolist()), halves=tuple(halves.tolist()))


def energy_shares(point: pd.Series) -> dict[str, float]:
    """Share of a point's energy in prefill, decode and idle intervals; what is left is not attributed.

    Empty where the total or both attributed parts are missing.
    """
    total = point.get("total_gpu_energy_j", math.nan)
    parts = {name: point.get(f"{name}_energy_j", math.nan) for name in ("prefill", "decode", "idle")}
    if not (math.isfinite(total) and total > 0) or not any(math.isfinite(parts[n]) for n in ("prefill", "decode")):
        return {}
    shares = {name: float(value / total) for name, value in parts.items() if math.isfinite(value)}
    return shares | {"not attributed": max(0.0, 1 - sum(shares.values()))}


def best_points(points: pd.DataFrame) -> list[pd.Series]:
    """The point of least energy of each panel; the first one where energy was not measured."""
    energy = energy_metric(points)
    chosen = []
    for name in panel_names(points):
        mine = points[points["panel"] == name]
        measured = mine.dropna(subset=[energy]) if energy is not None else mine.iloc[:0]
        chosen.append(measured.iloc[int(measured[energy].argmin())] if len(measured) else mine.iloc[0])
    return chosen


def pareto_front(costs: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points no other point dominates, in ascending order of the first cost.

    Both costs are better when lower. A point dominates another when it is no worse in both and better in one, so
    equal points are all members. Points with a cost that is not a number are never members.
    """
    known = [index for index, (first, second) in enumerate(costs) if not math.isnan(first + second)]
    ordered = sorted(known, key=lambda index: costs[index])
    front: list[int] = []
    for index in ordered:
        if not front or costs[index][1] < costs[front[-1]][1] or costs[index] == costs[front[-1]]:
            front.append(index)
    return front
