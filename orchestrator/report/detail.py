"""The cells of which a report draws the raw series: the best of each panel, and the same cell without its cap."""

import math
from dataclasses import dataclass, replace

import pandas as pd

from orchestrator.analysis.axes import CAP, Axes
from orchestrator.analysis.pooling import energy_metric
from orchestrator.errors import UserError
from orchestrator.records.text_format import metric_value
from orchestrator.report.panels import best_points, energy_shares
from orchestrator.report.spent import Spent, spent_by
from orchestrator.report.timeline import Bar, PowerTrace, power_trace, workflow_bars
from orchestrator.report.view import SweepView

MAX_CELLS = 8
"""Maximum number of single cells drawn: each costs a read of its series."""

N_BINS_BESIDE = 400
"""Bins of the second power trace in a panel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The shares of a point's energy by part; ``total`` is the energy as a text."""

    panel: str
    label: str
    parts: dict[str, float]
    total: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """The series of one cell. ``window_s`` is the measured window, ``cap_w`` the limit of all its GPUs together."""

    panel: str
    label: str
    cell_id: str
    cap_w: float | None
    window_s: tuple[float, float] | None
    power: PowerTrace | None
    bars: tuple[Bar, ...]
    rule: str | None
    uncapped: "Uncapped | None" = None
    spent: tuple[Spent, ...] = ()

    @property
    def most_w(self) -> float:
        """Return the largest power that a figure of the cell shows, its cap included; at least 1 W."""
        beside = self.uncapped.power if self.uncapped is not None else None
        peaks_w = [float(trace.high_w.max()) for trace in (self.power, beside) if trace is not None]
        return max(self.cap_w or 0.0, *peaks_w, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncapped:
    """The cell that differs only in its cap, which is the highest of the sweep."""

    label: str
    power: PowerTrace


def shares_of(points: pd.DataFrame) -> tuple[Share, ...]:
    """Return the shares of energy at the point of least energy of each panel that has such shares."""
    energy = energy_metric(points)
    shares = []
    for point in best_points(points):
        parts = energy_shares(point)
        if parts and energy is not None:
            total = f"{metric_value(energy, point[energy])} per {energy.removeprefix('gpu_energy_j_per_')}"
            shares.append(Share(panel=point["panel"], label=point["label"], parts=parts, total=total.replace("_", " ")))
    return tuple(shares)


def details_of(view: SweepView, points: pd.DataFrame, axes: Axes) -> tuple[tuple[Detail, ...], tuple[str, ...]]:
    """Return the details of the best cell of each panel, and a line for each that cannot be read."""
    details, problems = [], []
    rows = view.frame.set_index("cell_id")
    for point in best_points(points)[:MAX_CELLS]:
        cell_id = point["cells"][0]
        try:
            detail = _detail(view, point, rows.loc[cell_id])
            details.append(replace(detail, uncapped=_uncapped(view, points, point, axes)))
        except UserError as error:
            problems.append(str(error))
    return tuple(details), tuple(problems)


def _uncapped(view: SweepView, points: pd.DataFrame, point: pd.Series, axes: Axes) -> Uncapped | None:
    """Return the cell at the highest cap; None if the point has that cap itself, or no cap was swept."""
    if all(axis.key != CAP for axis in axes.all):
        return None
    others = [axis.key for axis in axes.all if axis.key != CAP]
    alike = [row for _, row in points.iterrows() if all(row[key] == point[key] for key in others)]
    top = max(alike, key=lambda row: float(row[CAP]))
    cell_id = top["cells"][0]
    if top[CAP] <= point[CAP] or "power" not in view.record(cell_id).series:
        return None
    power = power_trace(view.series(cell_id, "power"), N_BINS_BESIDE)
    return Uncapped(label=top["label"], power=power) if power is not None else None


def _detail(view: SweepView, point: pd.Series, row: pd.Series) -> Detail:
    cell_id = point["cells"][0]
    record = view.record(cell_id)
    window = record.window or {}
    names = set(record.series)
    bars: tuple[Bar, ...] = ()
    if {"steps", "requests"} <= names:
        bars = workflow_bars(view.series(cell_id, "steps"), view.series(cell_id, "requests"))
    return Detail(
        panel=point["panel"],
        label=point["label"],
        cell_id=cell_id,
        cap_w=_cap_w(row),
        window_s=(window["start_s"], window["end_s"]) if {"start_s", "end_s"} <= window.keys() else None,
        power=power_trace(view.series(cell_id, "power")) if "power" in names else None,
        bars=bars,
        rule=window.get("rule"),
        spent=spent_by(view.series(cell_id, "requests")) if "requests" in names else (),
    )


def _cap_w(row: pd.Series) -> float | None:
    limits = (row.get("hardware.power_limit_w"), row.get("hardware.default_power_limit_w"))
    known = [float(limit) for limit in limits if isinstance(limit, int | float) and math.isfinite(limit)]
    gpus = row.get("engine.tensor_parallel_size", 1)
    return known[0] * (int(gpus) if math.isfinite(gpus) else 1) if known else None
