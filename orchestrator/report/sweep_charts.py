"""The charts over the axes of a sweep: heat maps, curves, latency percentiles, fronts of energy and latency."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from orchestrator.analysis.axes import Axes, Axis
from orchestrator.analysis.pooling import HALF, WITHIN, shown_half_widths
from orchestrator.records.text_format import capital, metric_name, number, unit_of
from orchestrator.report import plot
from orchestrator.report.label_placement import Range, front_title, place_labels, view_of_front
from orchestrator.report.panels import FrontPanel, panel_names

_MARKERS: tuple[plot.Marker, ...] = ("circle", "square", "diamond", "triangle-up", "x", "star")
_PERCENTILES: dict[str, tuple[str, plot.Dash]] = {
    "median": (plot.BLUE, "solid"),
    "p90": (plot.ORANGE, "dash"),
    "p99": (plot.VERMILLION, "dot"),
}
_SHORT = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "request", "workflow": "workflow"}
_SECONDS_ABOVE_MS = 5000


def heat_maps(points: pd.DataFrame, x: Axis, y: Axis, metric: str) -> plot.Chart:
    """Return a map for each panel, with its own colours (the numbers are printed) and the least value framed."""
    panels = [
        plot.Panel(
            title=name,
            x=_level_scale(x),
            y=_level_scale(y),
            layers=_heat_map(name, points[points["panel"] == name], x, y, metric),
        )
        for name in panel_names(points)
    ]
    rows, columns = plot.grid_of(len(panels))
    return plot.Chart(
        title=capital(f"{metric_name(metric)} ({unit_of(metric)})"),
        panels=panels,
        columns=columns,
        row_px=[42 * len(y.levels) + 50] * rows,
        size_in=(max(columns * (1.4 + 0.62 * len(x.levels)), 4.5), 0.5 + rows * (0.9 + 0.34 * len(y.levels))),
    )


def _level_scale(axis: Axis) -> plot.Scale:
    """Return a scale with the levels of an axis at whole numbers."""
    ticks = {float(index): f"{level:g}" for index, level in enumerate(axis.levels)}
    return plot.Scale(title=axis.title, extent=(-0.5, len(ticks) - 0.5), ticks=ticks, grid=False)


def _heat_map(name: str, points: pd.DataFrame, x: Axis, y: Axis, metric: str) -> list[plot.Layer]:
    cell_of = {
        (row[x.key], row[y.key]): (row[metric], row[HALF + metric], row.get(WITHIN + metric, math.nan))
        for _, row in points.iterrows()
    }
    missing = (math.nan, math.nan, math.nan)
    cells = [[cell_of.get((column, line), missing) for column in x.levels] for line in y.levels]
    texts = [[with_interval(*cell) for cell in row] for row in cells]
    known = [
        (value, (i, j)) for j, row in enumerate(cells) for i, (value, *_) in enumerate(row) if math.isfinite(value)
    ]
    named = f"{metric_name(metric)}: {{}} {unit_of(metric)}"
    heat = plot.HeatMap(
        rows=[[value for value, *_ in row] for row in cells],
        texts=texts,
        hover=[
            [
                f"{name}\n{x.title}: {column:g}\n{y.title}: {line:g}\n" + named.replace("{}", text.replace("\n", " "))
                for column, text in zip(x.levels, row, strict=True)
            ]
            for line, row in zip(y.levels, texts, strict=True)
        ],
    )
    return [heat, *(_frame(*place) for value, place in known if math.isclose(value, min(known)[0]))]


def _frame(i: int, j: int) -> plot.Line:
    xs, ys = (i - 0.47, i + 0.47, i + 0.47, i - 0.47, i - 0.47), (j - 0.45, j - 0.45, j + 0.45, j + 0.45, j - 0.45)
    return plot.Line(xs=xs, ys=ys, colour=plot.VERMILLION, width=3, hover=None)


def with_interval(value: float, half: float, within: float = math.nan) -> str:
    """Return ``812`` or, with repeats, ``± 14`` on a second line; in brackets the half-width within a window.

    Empty where there is no value.
    """
    if not math.isfinite(value):
        return ""
    if math.isfinite(half):
        return f"{number(value)}\n± {number(half, digits=2)}"
    return f"{number(value)}\n(± {number(within, digits=2)})" if math.isfinite(within) else number(value)


def curves(points: pd.DataFrame, axes: Axes, metric: str) -> plot.Chart:
    """Return a metric along the one numeric axis, or at the only point of each panel, with 95 % intervals."""
    names = panel_names(points)
    lines = [
        curve(
            points[points["panel"] == name],
            axes,
            metric,
            at=index,
            name=name,
            colour=plot.PANELS[index % len(plot.PANELS)],
            marker=_MARKERS[index % len(_MARKERS)],
            size=8,
            width=2,
        )
        for index, name in enumerate(names)
    ]
    title = f"{metric_name(metric)} ({unit_of(metric)})"
    return plot.Chart(
        title=capital(metric_name(metric)),
        panels=[plot.Panel(x=_x_scale(axes, names), y=plot.Scale(title=title, from_zero=True), layers=lines)],
        columns=1,
        row_px=[260],
        size_in=(7, 4),
    )


def curve(points: pd.DataFrame, axes: Axes, metric: str, *, at: int = 0, factor: float = 1, **look: Any) -> plot.Line:
    """Return a metric along the x axis with its intervals; all at the position ``at`` where nothing numeric varies."""
    known = points[points[metric].notna()]
    return plot.Line(
        xs=[at] * len(known) if axes.x is None else known[axes.x.key].tolist(),
        ys=(factor * known[metric]).tolist(),
        halves=(factor * shown_half_widths(known, metric)).tolist(),
        **look,
    )


def _x_scale(axes: Axes, names: Iterable[str], *, brief: bool = False) -> plot.Scale:
    """Return the scale of the x axis with a tick at each level; with the names of the points where there is no axis."""
    if axes.x is None:
        ticks = {float(index): name for index, name in enumerate(names)}
        return plot.Scale(ticks=ticks, extent=(-0.5, len(ticks) - 0.5))
    levels = [float(level) for level in axes.x.levels]
    ticks = {level: f"{level:g}" for level in levels}
    title = axes.x.brief if brief else axes.x.title
    return plot.Scale(title=title, ticks=ticks, log=plot.spans_decades(levels, 8))


def latency_percentiles(points: pd.DataFrame, axes: Axes, latencies: Sequence[str]) -> plot.Chart:
    """Return a row for each latency and a column for each panel, with a line for each percentile.

    Where a second axis varies, each of its levels is a choice, the highest first.
    """
    names, choices = panel_names(points), [""]
    choice_of = pd.Series("", index=points.index)
    if axes.y is not None:
        choice_of = points[axes.y.key].map(axes.y.label)
        choices = [axes.y.label(level) for level in axes.y.levels[::-1] if (points[axes.y.key] == level).any()]
    panels = []
    for latency in latencies:
        unit = latency_unit(points, latency)
        y = plot.Scale(title=f"{_SHORT[latency]} ({unit})", from_zero=True)
        for name in names:
            mine = points[points["panel"] == name]
            of_choice = [(choice, mine[choice_of[mine.index] == choice]) for choice in choices]
            lines = [line for choice, few in of_choice for line in _percentiles(few, axes, latency, unit, choice)]
            title = name if latency == latencies[0] else ""
            panels.append(plot.Panel(title=title, x=_x_scale(axes, mine["label"], brief=True), y=y, layers=lines))
    return plot.Chart(
        title="Latency percentiles",
        panels=panels,
        columns=len(names),
        row_px=[175] * len(latencies),
        size_in=(max(4.5, 0.6 + 2.3 * len(names)), 0.8 + 1.5 * len(latencies)),
        choices=[choice for choice in choices if choice],
    )


def _percentiles(points: pd.DataFrame, axes: Axes, latency: str, unit: str, choice: str) -> list[plot.Line]:
    return [
        curve(
            points,
            axes,
            f"{statistic}_{latency}_ms",
            factor=0.001 if unit == "s" else 1,
            name=statistic,
            colour=colour,
            dash=dash,
            width=2,
            marker="circle",
            size=5,
            hover=f"{statistic} %{{y:.4g}} {unit} at %{{x}}",
            choice=choice,
        )
        for statistic, (colour, dash) in _PERCENTILES.items()
        if f"{statistic}_{latency}_ms" in points
    ]


def latency_unit(points: pd.DataFrame, latency: str) -> str:
    """Return seconds where the largest percentile of a latency passes five of them, else milliseconds."""
    keys = [f"{statistic}_{latency}_ms" for statistic in _PERCENTILES if f"{statistic}_{latency}_ms" in points]
    return "s" if keys and points[keys].max().max() > _SECONDS_ABOVE_MS else "ms"


def fronts(panels: Sequence[FrontPanel], latency: str, energy: str) -> plot.Chart:
    """Return energy against latency; members of the front are joined and named, the other points are grey."""
    rows, columns = plot.grid_of(len(panels))
    titles = f"{metric_name(latency)} (s)", f"{metric_name(energy)} (J)"
    return plot.Chart(
        title="Energy against latency: the front",
        panels=[_front(panel, *titles) for panel in panels],
        columns=columns,
        row_px=[380] * rows,
        size_in=(5.3 * columns, 0.5 + 4.4 * rows),
    )


def _front(panel: FrontPanel, latency: str, energy: str) -> plot.Panel:
    view = view_of_front(panel)
    members = [(member.label, member.latency_s, member.energy_j) for member in panel.members]
    others = zip(panel.labels, panel.latencies_s, panel.energies_j, strict=True)
    notes = [
        plot.Note(
            x=label.member.latency_s,
            y=label.member.energy_j,
            text=label.text,
            right_px=label.right_px,
            up_px=label.up_px,
        )
        for label in place_labels(panel)
    ]
    return plot.Panel(
        title=front_title(panel),
        x=_front_scale(latency, view.x),
        y=_front_scale(energy, view.y),
        layers=[
            _costs(others, name="dominated", colour=plot.FAINT, size=7),
            _costs(members, name="on the front", colour=plot.BLUE, size=9, width=1.5, steps=True),
            *notes,
        ],
    )


def _costs(points: Iterable[tuple[str, float, float]], **look: Any) -> plot.Line:
    """Return points of which each is a label, a latency and an energy."""
    labels, xs, ys = zip(*points, strict=True)
    hover = [f"{label}\n{x:.4g} s, {y:.4g} J" for label, x, y in zip(labels, xs, ys, strict=True)]
    return plot.Line(xs=xs, ys=ys, marker="circle", hover=hover, **look)


def _front_scale(title: str, shown: Range) -> plot.Scale:
    if not shown.log:
        return plot.Scale(title=title, extent=(shown.low, shown.high))
    ticks = {tick: f"{tick:g}" for tick in shown.ticks()}
    return plot.Scale(title=title, extent=(10**shown.low, 10**shown.high), ticks=ticks, log=True)
