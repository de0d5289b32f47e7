"""The cells a report looks into: what is drawn from their raw series."""

import math
from dataclasses import dataclass

import pandas as pd

from orchestrator.errors import UserError
from orchestrator.report.panels import best_points, energy_shares
from orchestrator.report.points import energy_metric
from orchestrator.report.timeline import Bar, PowerTrace, power_trace, workflow_bars
from orchestrator.report.view import SweepView
from orchestrator.report.words import metric_value

MAX_CELLS = 8
"""So many single cells are drawn at most: each costs a read of its series."""


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


def details_of(view: SweepView, points: pd.DataFrame) -> tuple[tuple[Detail, ...], tuple[str, ...]]:
    """A look into the best cell of each panel, and what could not be read of it, one line each."""
    details, problems = [], []
    rows = view.frame.set_index("cell_id")
    for point in best_points(points)[:MAX_CELLS]:
        cell_id = point["cells"][0]
        try:
            details.append(_detail(view, point, rows.loc[cell_id]))
        except UserError as error:
            problems.append(str(error))
    return tuple(details), tuple(problems)


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
    )


def _cap_w(row: pd.Series) -> float | None:
    limits = (row.get("hardware.power_limit_w"), row.get("hardware.default_power_limit_w"))
    known = [float(limit) for limit in limits if isinstance(limit, int | float) and math.isfinite(limit)]
    gpus = row.get("engine.tensor_parallel_size", 1)
    return known[0] * (int(gpus) if math.isfinite(gpus) else 1) if known else None
