"""The cells a report looks into: what is drawn from their raw series."""

import math
from dataclasses import dataclass, replace

import pandas as pd

from orchestrator.analysis.axes import CAP, Axes
from orchestrator.analysis.pooling import energy_metric
from orchestrator.analysis.text_format import metric_value
from orchestrator.errors import UserError
from orchestrator.report.panels import best_points, energy_shares
from orchestrator.report.spent import Spent, spent_by
from orchestrator.report.timeline import Bar, PowerTrace, power_trace, workflow_bars
from orchestrator.report.view import SweepView

MAX_CELLS = 8
"""So many single cells are drawn at most: each costs a read of its series."""

N_BINS_BESIDE = 400
"""Bins of a power trace that stands beside another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Where the energy of a point went; ``total`` says how much there was."""

    panel: str
    label: str
    parts: dict[str, float]
    total: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One cell, looked into. ``window_s`` is the measured window; ``cap_w`` the limit of all its GPUs together."""

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
        """The largest power that a figure of the cell has to show, its cap included; 1 where there is nothing."""
        beside = self.uncapped.power if self.uncapped is not None else None
        peaks_w = [float(trace.high_w.max()) for trace in (self.power, beside) if trace is not None]
        return max(self.cap_w or 0.0, *peaks_w, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncapped:
    """The cell that differs only in its cap, which is the highest of the sweep: what the best one's cap takes away."""

    label: str
    power: PowerTrace


def shares_of(points: pd.DataFrame) -> tuple[Share, ...]:
    """The split of the energy at the point of least energy of each panel that has one."""
    energy = energy_metric(points)
    found = []
    for point in best_points(points):
        parts = energy_shares(point)
        if parts and energy is not None:
            total = f"{metric_value(energy, point[energy])} per {energy.removeprefix('gpu_energy_j_per_')}"
            found.append(Share(panel=point["panel"], label=point["label"], parts=parts, total=total.replace("_", " ")))
    return tuple(found)


def details_of(view: SweepView, points: pd.DataFrame, axes: Axes) -> tuple[tuple[Detail, ...], tuple[str, ...]]:
    """A look into the best cell of each panel, and what could not be read of it, one line each."""
    details, problems = [], []
    rows = view.frame.set_index("cell_id")
    for point in best_points(points)[:MAX_CELLS]:
        cell_id = point["cells"][0]
        try:
            found = _detail(view, point, rows.loc[cell_id])
            details.append(replace(found, uncapped=_uncapped(view, points, point, axes)))
        except UserError as error:
            problems.append(str(error))
    return tuple(details), tuple(problems)


def _uncapped(view: SweepView, points: pd.DataFrame, point: pd.Series, axes: Axes) -> Uncapped | None:
    """None where the point has the highest cap itself, or no cap was swept."""
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
