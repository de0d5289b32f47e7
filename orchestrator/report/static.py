"""The same figures as PNGs, over the sweep's axes: heat maps, curves, latency percentiles, fronts."""

import math
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes as Panel
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from orchestrator.analysis.axes import Axes, Axis
from orchestrator.analysis.text_format import metric_name, unit_of
from orchestrator.report import theme
from orchestrator.report.label_placement import front_title, place_labels, view_of_front
from orchestrator.report.panels import Curve, FrontPanel, HeatPanel, curve, latency_unit, lines, panel_names

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": theme.MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": theme.GRID,
    "legend.frameon": False,
    "text.parse_math": False,
    "figure.dpi": 130,
}


def new_figure(width: float, height: float, title: str, *, simulated: bool) -> Figure:
    """A white figure of so many inches; a simulated one says so in its title."""
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=130, facecolor="white")
        marked = f"{title}  [{theme.SIMULATED}]" if simulated else title
        figure.suptitle(marked, fontsize=11, x=0.01, ha="left", color=theme.INK)
    return figure


def heat_maps(panels: tuple[HeatPanel, ...], x: Axis, y: Axis, metric: str, *, simulated: bool) -> Figure:
    """One map a panel, each with its own colours; the least is framed."""
    rows, columns = theme.grid_of(len(panels))
    size = (columns * (1.4 + 0.62 * len(x.levels)), 0.5 + rows * (0.9 + 0.34 * len(y.levels)))
    title = f"{_capital(metric_name(metric))} ({unit_of(metric)})"
    figure = new_figure(max(size[0], 4.5), size[1], title, simulated=simulated)
    with rc_context(STYLE):
        for axes, panel in zip(_grid(figure, rows, columns, len(panels)), panels, strict=True):
            _heat(axes, panel)
            axes.set_xlabel(x.title)
            axes.set_ylabel(y.title)
    return figure


def _heat(axes: Panel, panel: HeatPanel) -> None:
    flat = [value for row in panel.rows for value in row if math.isfinite(value)]
    if flat:
        norm = _norm(flat)
        axes.imshow(panel.rows, cmap=theme.HEAT, norm=norm, aspect="auto", origin="lower")
        for j, row in enumerate(panel.rows):
            for i, value in enumerate(row):
                if math.isfinite(value):
                    light = float(norm(value)) > 0.55
                    colour = theme.INK if light else "white"
                    axes.text(i, j, panel.texts[j][i], ha="center", va="center", fontsize=7.5, color=colour)
    for i, j in panel.best:
        corner = (i - 0.48, j - 0.46)
        axes.add_patch(Rectangle(corner, 0.96, 0.92, fill=False, edgecolor=theme.VERMILLION, linewidth=2))
    axes.set_title(panel.name)
    axes.set_xticks(range(len(panel.x_labels)), panel.x_labels)
    axes.set_yticks(range(len(panel.y_labels)), panel.y_labels)
    axes.grid(visible=False)


def _norm(values: list[float]) -> Normalize:
    low, high = min(values), max(values)
    if theme.spans_decades(values, 4):
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + (abs(low) or 1.0))


def metric_curves(points: pd.DataFrame, axes: Axes, metric: str, *, simulated: bool) -> Figure:
    """A metric along the one numeric axis, or of each panel's only point."""
    figure = new_figure(7, 4, _capital(metric_name(metric)), simulated=simulated)
    with rc_context(STYLE):
        panel = figure.subplots()
        for index, name in enumerate(panel_names(points)):
            drawn = curve(points[points["panel"] == name], axes, metric)
            look: dict[str, Any] = {"color": theme.PANELS[index % len(theme.PANELS)], "label": name}
            look["marker"] = theme.MARKERS[index % len(theme.MARKERS)]
            xs = drawn.xs if axes.x is not None else (name,) * len(drawn.xs)
            _line(panel, Curve(xs=xs, values=drawn.values, halves=drawn.halves), **look)
        _mark_x(panel, axes.x)
        panel.set_xlabel(axes.x.title if axes.x is not None else "")
        panel.set_ylabel(f"{metric_name(metric)} ({unit_of(metric)})")
        panel.set_ylim(bottom=0)
        if axes.x is not None:
            panel.legend()
    return figure


def latency_percentiles(points: pd.DataFrame, axes: Axes, latencies: tuple[str, ...], *, simulated: bool) -> Figure:
    """Rows of latencies, columns of panels, a line a percentile, at the highest level of a second axis."""
    names = panel_names(points)
    level = axes.y.levels[-1] if axes.y is not None else None
    title = "Latency percentiles" + (f" at {axes.y.label(level)}" if axes.y is not None else "")
    units = [latency_unit(points, latency) for latency in latencies]
    size = (max(4.5, 0.6 + 2.3 * len(names)), 0.8 + 1.5 * len(latencies))
    figure = new_figure(*size, title, simulated=simulated)
    with rc_context(STYLE):
        found = lines(points, axes)
        grid = figure.subplots(len(latencies), len(names), squeeze=False, sharex=True)
        for (row, column), panel in ((key, grid[key]) for key in _keys(grid)):
            mine = found.get((names[column], level), points.iloc[:0])
            for statistic, (colour, dash) in theme.PERCENTILES.items():
                metric = f"{statistic}_{latencies[row]}_ms"
                if metric in points:
                    look = {"color": colour, "linestyle": {"solid": "-", "dash": "--", "dot": ":"}[dash]}
                    drawn = curve(mine, axes, metric, scale=0.001 if units[row] == "s" else 1)
                    _line(panel, drawn, label=statistic, marker="o", markersize=3, **look)
            _mark_x(panel, axes.x)
            panel.set_ylim(bottom=0)
            if row == 0:
                panel.set_title(names[column])
            if row == len(latencies) - 1 and axes.x is not None:
                panel.set_xlabel(axes.x.brief)
            if column == 0:
                panel.set_ylabel(f"{theme.SHORT[latencies[row]]} ({units[row]})")
        if names:
            figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="upper right", ncols=3, fontsize=8)
    return figure


def fronts(panels: tuple[FrontPanel, ...], latency: str, energy: str, *, simulated: bool) -> Figure:
    """Energy against latency; members of the front are joined and named, the others are muted."""
    rows, columns = theme.grid_of(len(panels))
    size = (5.3 * columns, 0.5 + 4.4 * rows)
    figure = new_figure(*size, "Energy against latency: the front", simulated=simulated)
    with rc_context(STYLE):
        for axes, panel in zip(_grid(figure, rows, columns, len(panels)), panels, strict=True):
            _front(axes, panel)
            axes.set_title(front_title(panel))
            axes.set_xlabel(f"{metric_name(latency)} (s)")
            axes.set_ylabel(f"{metric_name(energy)} (J)")
    return figure


def _front(axes: Panel, panel: FrontPanel) -> None:
    axes.scatter(panel.latencies_s, panel.energies_j, s=16, color=theme.FAINT, zorder=2)
    xs, ys = [m.latency_s for m in panel.members], [m.energy_j for m in panel.members]
    axes.plot(xs, ys, drawstyle="steps-post", marker="o", markersize=5, linewidth=1.2, color=theme.BLUE, zorder=3)
    for label in place_labels(panel):
        axes.annotate(
            label.text,
            (label.member.latency_s, label.member.energy_j),
            xytext=(label.right_px * 0.72, label.up_px * 0.72),
            textcoords="offset points",
            ha="left" if label.right_px > 0 else "right",
            va="center",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "color": theme.MUTED, "linewidth": 0.5},
        )
    view = view_of_front(panel)
    for extent, line, scale, limit in (
        (view.x, axes.xaxis, axes.set_xscale, axes.set_xlim),
        (view.y, axes.yaxis, axes.set_yscale, axes.set_ylim),
    ):
        if extent.log:
            scale("log")
            line.set_ticks(extent.ticks(), [f"{tick:g}" for tick in extent.ticks()])
            line.set_ticks([], minor=True)
        limit(*((10**extent.low, 10**extent.high) if extent.log else (extent.low, extent.high)))


def _line(panel: Panel, drawn: Curve, **look: Any) -> None:
    halves = None
    if any(math.isfinite(half) for half in drawn.halves):
        halves = [half if math.isfinite(half) else 0.0 for half in drawn.halves]
    panel.errorbar(drawn.xs, drawn.values, yerr=halves, capsize=2, linewidth=1.5, **look)


def _mark_x(panel: Panel, axis: Axis | None) -> None:
    if axis is None:
        return
    if theme.spans_decades([float(level) for level in axis.levels], 8):
        panel.set_xscale("log")
    panel.set_xticks(axis.levels, [f"{level:g}" for level in axis.levels])
    panel.minorticks_off()


def _grid(figure: Figure, rows: int, columns: int, n_panels: int) -> list[Panel]:
    grid = figure.subplots(rows, columns, squeeze=False)
    panels = [grid[key] for key in _keys(grid)]
    for panel in panels[n_panels:]:
        panel.set_visible(False)
    return panels[:n_panels]


def _keys(grid: Any) -> list[tuple[int, int]]:
    return [(row, column) for row in range(grid.shape[0]) for column in range(grid.shape[1])]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
