"""The interactive figures over the sweep's axes: heat maps, curves, latency percentiles, energy-latency fronts."""

import math
from html import escape

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from orchestrator.analysis.axes import Axes, Axis
from orchestrator.analysis.text_format import metric_name, unit_of
from orchestrator.report import theme
from orchestrator.report.label_placement import Range, front_title, place_labels, view_of_front
from orchestrator.report.panels import Curve, FrontPanel, HeatPanel, curve, latency_unit, lines, panel_names


def heat_maps(panels: tuple[HeatPanel, ...], x: Axis, y: Axis, metric: str) -> go.Figure:
    """One map a panel, each with its own colours (the figures are printed); the least is framed."""
    rows, columns = theme.grid_of(len(panels))
    figure = panels_grid([panel.name for panel in panels], columns, 60 + 42 * len(y.levels))
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        where = {"row": row + 1, "col": column + 1}
        figure.add_trace(_heat_trace(panel, x, y, metric), **where)
        for i, j in panel.best:
            box = {"x0": i - 0.47, "x1": i + 0.47, "y0": j - 0.45, "y1": j + 0.45}
            figure.add_shape(type="rect", **box, line={"color": theme.VERMILLION, "width": 3}, **where)
        if row == rows - 1 or index + columns >= len(panels):
            figure.update_xaxes(title_text=escape(x.title), **where)
        if column == 0:
            figure.update_yaxes(title_text=escape(y.title), **where)
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def _heat_trace(panel: HeatPanel, x: Axis, y: Axis, metric: str) -> go.Heatmap:
    flat = [value for row in panel.rows for value in row]
    colours = panel.rows
    if theme.spans_decades(flat, 4):
        colours = tuple(tuple(math.log10(value) if value > 0 else value for value in row) for row in panel.rows)
    texts = [[text.replace("\n", "<br>") for text in row] for row in panel.texts]
    hovers = [[text.replace("\n", " ") for text in row] for row in panel.texts]
    return go.Heatmap(
        x=panel.x_labels,
        y=panel.y_labels,
        z=colours,
        text=texts,
        customdata=hovers,
        texttemplate="%{text}",
        textfont={"size": 12},
        colorscale=theme.HEAT,
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        hovertemplate=f"{escape(x.title)}: %{{x}}<br>{escape(y.title)}: %{{y}}<br>"
        f"{metric_name(metric)}: %{{customdata}} {unit_of(metric)}<extra>{escape(panel.name)}</extra>",
    )


def metric_curves(points: pd.DataFrame, axes: Axes, metric: str) -> go.Figure:
    """A metric along the one numeric axis, or of each panel's only point, with 95 % intervals."""
    names = panel_names(points)
    figure = go.Figure()
    for index, name in enumerate(names):
        drawn = curve(points[points["panel"] == name], axes, metric)
        colour = theme.PANELS[index % len(theme.PANELS)]
        symbol = theme.SYMBOLS[index % len(theme.SYMBOLS)]
        figure.add_trace(
            go.Scatter(
                x=drawn.xs if axes.x is not None else [escape(name)] * len(drawn.xs),
                y=drawn.values,
                error_y=_interval(drawn),
                mode="lines+markers",
                name=escape(name),
                line={"color": colour, "width": 2},
                marker={"symbol": symbol, "size": 8},
            )
        )
    dress(figure, 380)
    figure.update_xaxes(title_text=escape(axes.x.title) if axes.x is not None else "", **_ticks(axes.x))
    figure.update_yaxes(title_text=f"{metric_name(metric)} ({unit_of(metric)})", rangemode="tozero")
    return figure


def latency_percentiles(points: pd.DataFrame, axes: Axes, latencies: tuple[str, ...]) -> go.Figure:
    """Rows of latencies, columns of panels, a line a percentile; where a second axis varies it is chosen above."""
    names = panel_names(points)
    titles = [name if row == 0 else "" for row in range(len(latencies)) for name in names]
    figure = panels_grid(titles, len(names), 175, rows=len(latencies), spacing=0.05)
    traces: list[go.Scatter] = []
    places: list[tuple[int, int, float | None]] = []
    for row, latency in enumerate(latencies, start=1):
        unit = latency_unit(points, latency)
        for (name, level), line in lines(points, axes).items():
            column = names.index(name) + 1
            drawn = _percentile_traces(line, axes, latency, unit, legend=row == column == 1)
            traces += drawn
            places += [(row, column, level)] * len(drawn)
        figure.update_yaxes(title_text=f"{theme.SHORT[latency]} ({unit})", row=row, col=1)
    figure.add_traces(traces, rows=[row for row, _, _ in places], cols=[column for _, column, _ in places])
    for column in range(len(names)):
        figure.update_xaxes(
            title_text=escape(axes.x.brief if axes.x is not None else ""), row=len(latencies), col=column + 1
        )
    figure.update_xaxes(**_ticks(axes.x))
    figure.update_yaxes(rangemode="tozero", nticks=5)
    if axes.y is not None:
        _choose_level(figure, axes.y, [level for _, _, level in places])
    return figure


def _percentile_traces(line: pd.DataFrame, axes: Axes, latency: str, unit: str, *, legend: bool) -> list[go.Scatter]:
    traces = []
    for statistic, (colour, dash) in theme.PERCENTILES.items():
        metric = f"{statistic}_{latency}_ms"
        if metric not in line:
            continue
        drawn = curve(line, axes, metric, scale=0.001 if unit == "s" else 1)
        traces.append(
            go.Scatter(
                x=[escape(str(x)) for x in drawn.xs] if axes.x is None else drawn.xs,
                y=drawn.values,
                error_y=_interval(drawn),
                name=statistic,
                legendgroup=statistic,
                showlegend=legend,
                mode="lines+markers",
                line={"color": colour, "dash": dash, "width": 2},
                marker={"size": 5},
                hovertemplate=f"{statistic} %{{y:.4g}} {unit} at %{{x}}<extra></extra>",
            )
        )
    return traces


def _choose_level(figure: go.Figure, axis: Axis, level_of: list[float | None]) -> None:
    """A menu of the axis's levels, highest first, of which one is drawn at a time."""
    levels = [level for level in axis.levels[::-1] if level in level_of]
    buttons = [
        {
            "label": escape(axis.label(level)),
            "method": "update",
            "args": [{"visible": [at == level for at in level_of]}],
        }
        for level in levels
    ]
    for trace, level in zip(figure.data, level_of, strict=True):
        trace.visible = level == levels[0]
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "pad": {"b": 30}}
    figure.update_layout(updatemenus=[{**menu, "bgcolor": "white", "bordercolor": theme.FAINT}], margin={"t": 96})


def fronts(panels: tuple[FrontPanel, ...], latency: str, energy: str) -> go.Figure:
    """Energy against latency; members of the front are joined and named, the others are muted."""
    _, columns = theme.grid_of(len(panels))
    figure = panels_grid([front_title(panel) for panel in panels], columns, 360, gap=92)
    for index, panel in enumerate(panels):
        where = {"row": index // columns + 1, "col": index % columns + 1}
        _front(figure, panel, index, where)
        figure.update_xaxes(title_text=f"{metric_name(latency)} (s)", **where)
        if index % columns == 0:
            figure.update_yaxes(title_text=f"{metric_name(energy)} (J)", **where)
    return figure


def _front(figure: go.Figure, panel: FrontPanel, index: int, where: dict[str, int]) -> None:
    view = view_of_front(panel)
    figure.update_xaxes(**_scale(view.x), **where)
    figure.update_yaxes(**_scale(view.y), **where)
    hover = "%{text}<br>%{x:.4g} s, %{y:.4g} J<extra></extra>"
    others = go.Scatter(
        x=panel.latencies_s,
        y=panel.energies_j,
        text=[escape(label) for label in panel.labels],
        mode="markers",
        marker={"color": theme.FAINT, "size": 7},
        hovertemplate=hover,
        name="dominated",
        showlegend=index == 0,
        legendgroup="dominated",
    )
    members = go.Scatter(
        x=[member.latency_s for member in panel.members],
        y=[member.energy_j for member in panel.members],
        text=[escape(member.label) for member in panel.members],
        mode="lines+markers",
        line={"color": theme.BLUE, "width": 1.5, "shape": "hv"},
        marker={"color": theme.BLUE, "size": 9},
        hovertemplate=hover,
        name="on the front",
        showlegend=index == 0,
        legendgroup="front",
    )
    figure.add_traces([others, members], rows=where["row"], cols=where["col"])
    for label in place_labels(panel):
        figure.add_annotation(
            x=math.log10(label.member.latency_s) if view.x.log else label.member.latency_s,
            y=math.log10(label.member.energy_j) if view.y.log else label.member.energy_j,
            text=escape(label.text),
            showarrow=True,
            arrowhead=0,
            arrowwidth=0.8,
            arrowcolor=theme.MUTED,
            ax=label.right_px,
            ay=-label.up_px,
            xanchor="left" if label.right_px > 0 else "right",
            font={"size": 11, "color": theme.INK},
            **where,
        )


def _scale(extent: Range) -> dict[str, object]:
    scale: dict[str, object] = {"type": "log", "tickvals": extent.ticks()} if extent.log else {}
    return scale | {"range": [extent.low, extent.high]}


def _interval(drawn: Curve) -> dict[str, object] | None:
    if not any(math.isfinite(half) for half in drawn.halves):
        return None
    return {"type": "data", "array": drawn.halves, "thickness": 1, "width": 3}


def _ticks(axis: Axis | None) -> dict[str, object]:
    if axis is None:
        return {"type": "category"}
    scale = {"type": "log"} if theme.spans_decades([float(level) for level in axis.levels], 8) else {}
    return scale | {
        "tickvals": list(axis.levels),
        "ticktext": [f"{level:g}" for level in axis.levels],
        "minor": {"ticks": ""},
    }


def panels_grid(
    titles: list[str], columns: int, height: int, *, rows: int | None = None, spacing: float = 0.1, gap: int = 60
) -> go.Figure:
    """Panels of ``height`` pixels side by side in so many columns, each with its title."""
    rows = rows or -(-len(titles) // columns)
    total = rows * (height + gap) + 60
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[escape(title) for title in titles],
        horizontal_spacing=spacing if columns > 1 else 0,
        vertical_spacing=gap / total if rows > 1 else 0,
    )
    figure.update_annotations(font={"size": 14, "color": theme.INK})
    return dress(figure, total)


def stacked(titles: list[str], height: int, *, weights: list[int] | None = None, unit: int = 0) -> go.Figure:
    """Panels one above the other, titles at the left; ``unit`` pixels for each weight where heights differ."""
    heights = [weight * unit for weight in weights] if weights else [height] * len(titles)
    total = sum(heights) + 62 * len(titles) + 50
    figure = make_subplots(
        rows=len(titles),
        cols=1,
        subplot_titles=[escape(title) for title in titles],
        row_heights=heights,
        vertical_spacing=62 / total if len(titles) > 1 else 0,
    )
    figure.update_annotations(font={"size": 14, "color": theme.INK}, x=0, xanchor="left")
    return dress(figure, total)


def dress(figure: go.Figure, height: int) -> go.Figure:
    """The common look: white, thin lines, every axis with ticks outside, the legend at the top right."""
    axis = {
        "gridcolor": theme.GRID,
        "linecolor": theme.MUTED,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "title_font_size": 13,
    }
    figure.update_layout(
        template=None,
        height=height,
        autosize=True,
        font={"family": theme.SANS, "size": 13, "color": theme.INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 64, "r": 16, "t": 48, "b": 56},
        hoverlabel={"font": {"family": theme.SANS}},
        legend={"orientation": "h", "y": 1.0, "yanchor": "top", "yref": "container", "x": 1, "xanchor": "right"},
    )
    figure.update_xaxes(showline=True, title_standoff=8, automargin=True, **axis)
    figure.update_yaxes(showline=True, title_standoff=8, automargin=True, **axis)
    return figure
