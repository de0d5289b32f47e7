"""The points of each panel: its best point, its front of energy and latency, the split of its energy."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from orchestrator.analysis.pooling import HALF, energy_metric, latency_metric

Values = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontMember:
    """A point on the front; points of equal cost are one member with all their names.

    The halves are half-widths of 95 % intervals, the largest of its points; None with a single repeat.
    """

    label: str
    latency_s: float
    energy_j: float
    cells: tuple[str, ...]
    latency_half_s: float | None = None
    energy_half_j: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPanel:
    """All points of a panel, and the members of its front, fastest first."""

    name: str
    labels: tuple[str, ...]
    latencies_s: Values
    energies_j: Values
    members: tuple[FrontMember, ...]


def panel_names(points: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of the panels in the order of the points."""
    return tuple(dict.fromkeys(points["panel"]))


def front_panels(points: pd.DataFrame) -> tuple[FrontPanel, ...]:
    """Return energy against latency of every panel; empty if either was not measured."""
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
    """Return nine digits of a cost: what differs only by the order of a summation is equal."""
    return float(f"{value:.9g}")


def merged_label(labels: list[str]) -> str:
    """Return one name for points of equal cost: ``8 seqs, 280 W`` and ``8 seqs, 340 W`` give ``8 seqs, 280/340 W``.

    Names of points that do not fill a grid of levels are joined by ``=``.
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


def energy_shares(point: pd.Series) -> dict[str, float]:
    """Return the shares of a point's energy in prefill, decode and idle intervals; the rest is not attributed.

    Empty if the total or both attributed parts are missing.
    """
    total = point.get("total_gpu_energy_j", math.nan)
    parts = {name: point.get(f"{name}_energy_j", math.nan) for name in ("prefill", "decode", "idle")}
    if not (math.isfinite(total) and total > 0) or not any(math.isfinite(parts[n]) for n in ("prefill", "decode")):
        return {}
    shares = {name: float(value / total) for name, value in parts.items() if math.isfinite(value)}
    return shares | {"not attributed": max(0.0, 1 - sum(shares.values()))}


def best_points(points: pd.DataFrame) -> list[pd.Series]:
    """Return the point of least energy of each panel; its first point if energy was not measured."""
    energy = energy_metric(points)
    chosen = []
    for name in panel_names(points):
        mine = points[points["panel"] == name]
        measured = mine.dropna(subset=[energy]) if energy is not None else mine.iloc[:0]
        chosen.append(measured.iloc[int(measured[energy].argmin())] if len(measured) else mine.iloc[0])
    return chosen


def pareto_front(costs: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other point dominates, in ascending order of the first cost.

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
