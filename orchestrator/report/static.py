"""Draw a chart as a PNG, with matplotlib: for papers, for print, and for browsers without scripts."""

import io
import math
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure

from orchestrator.report import plot

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": plot.MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": plot.GRID,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.parse_math": False,
}
_MARKERS = {"": "", "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "x": "X", "star": "*"}
_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_PT = 0.72
"""Points of the PNG for a pixel of the page."""


def png(chart: plot.Chart, *, simulated: bool) -> bytes:
    """Return the file."""
    buffer = io.BytesIO()
    draw(chart, simulated=simulated).savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def draw(chart: plot.Chart, *, simulated: bool) -> Figure:
    """Return the figure; a simulated one says so in its title."""
    with rc_context(_STYLE):
        figure = Figure(figsize=chart.size_in, layout="constrained", dpi=130, facecolor="white")
        title = f"{chart.title} at {chart.choices[0]}" if chart.choices else chart.title
        marked = f"{title}  [{plot.SIMULATED}]" if simulated else title
        figure.suptitle(marked, fontsize=11, x=0.01, ha="left", color=plot.INK)
        grid = figure.subplots(len(chart.row_px), chart.columns, squeeze=False, height_ratios=chart.row_px)
        for index, axes in enumerate(grid.flat):
            axes.set_visible(index < len(chart.panels))
            if index < len(chart.panels):
                _draw_panel(axes, index, chart)
        if chart.legend == "chart":
            handles = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in grid.flat]
            named = {text: handle for of_panel in handles for handle, text in of_panel}
            figure.legend(named.values(), named.keys(), loc="outside lower right", ncols=max(1, len(named)))
    return figure


def _draw_panel(axes: Axes, index: int, chart: plot.Chart) -> None:
    panel = chart.panels[index]
    bottom, left = chart.is_outer(index)
    for layer in panel.layers:
        if not isinstance(layer, plot.Line) or layer.choice in ("", *chart.choices[:1]):
            _draw_layer(axes, layer)
    axes.set_title(panel.title, loc="left" if chart.stacked else "center")
    _set_scale(axes, "x", panel.x, titled=bottom)
    _set_scale(axes, "y", panel.y, titled=left)
    if chart.legend == "panel" and len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(loc="lower right")


def _set_scale(axes: Axes, name: str, scale: plot.Scale, *, titled: bool) -> None:
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_label_text(scale.title if titled else "")
    axis.grid(visible=scale.grid)
    if scale.log:
        axes.set(**{f"{name}scale": "log"})
    if scale.ticks is not None:
        axis.set_ticks(list(scale.ticks), list(scale.ticks.values()))
        axis.set_ticks([], minor=True)
    if scale.extent is not None or scale.from_zero:
        axes.set(**{f"{name}lim": scale.extent or (0, None)})


def _draw_layer(axes: Axes, layer: plot.Layer) -> None:
    match layer:
        case plot.Line():
            _draw_line(axes, layer)
        case plot.Band():
            look: Any = {"color": layer.colour, "alpha": layer.opacity, "linewidth": 0}
            axes.fill_between(layer.xs, layer.low, layer.high, step="post", **look)
        case plot.Bars():
            bars = axes.barh(
                layer.rows, layer.lengths, left=layer.starts, color=layer.colour, height=0.75, label=layer.name
            )
            if layer.texts:
                axes.bar_label(bars, layer.texts, label_type="center", fontsize=8, color=_text_on(to_rgb(layer.colour)))
        case plot.HeatMap():
            _draw_heat_map(axes, layer)
        case plot.Note():
            _draw_note(axes, layer)


def _draw_line(axes: Axes, line: plot.Line) -> None:
    axes.errorbar(
        line.xs,
        line.ys,
        yerr=np.nan_to_num(line.halves) if any(math.isfinite(half) for half in line.halves) else None,
        capsize=2,
        color=line.colour,
        label=line.name,
        linestyle=_DASHES[line.dash] if line.width else "none",
        linewidth=_PT * line.width,
        drawstyle="steps-post" if line.steps else "default",
        marker=_MARKERS[line.marker],
        markersize=_PT * line.size,
    )


def _draw_heat_map(axes: Axes, heat: plot.HeatMap) -> None:
    known = [value for row in heat.rows for value in row if math.isfinite(value)]
    if known:
        low, high = min(known), max(known)
        norm = LogNorm(low, high) if heat.log else Normalize(low, high if high > low else low + (abs(low) or 1.0))
        axes.imshow(heat.rows, cmap=plot.HEAT, norm=norm, aspect="auto", origin="lower")
        for j, (row, texts) in enumerate(zip(heat.rows, heat.texts, strict=True)):
            for i, (value, text) in enumerate(zip(row, texts, strict=True)):
                if text:
                    colour = _text_on(colormaps[plot.HEAT](norm(value))[:3])
                    axes.text(i, j, text, ha="center", va="center", fontsize=7.5, color=colour)


def _draw_note(axes: Axes, note: plot.Note) -> None:
    axes.annotate(
        note.text,
        (note.x, note.y),
        xytext=(_PT * note.right_px, _PT * note.up_px),
        textcoords="offset points",
        ha="left" if note.right_px > 0 else "right",
        va="center",
        fontsize=7 if note.leader else 8,
        arrowprops={"arrowstyle": "-", "color": plot.MUTED, "linewidth": 0.5} if note.leader else None,
    )


def _text_on(background: tuple[float, float, float]) -> str:
    """Return the colour of a text that can be read on a background."""
    brightness = float(np.dot(background, (0.299, 0.587, 0.114)))
    return plot.INK if brightness > 0.5 else "white"
