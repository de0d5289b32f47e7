"""Draw a chart for the page, with plotly."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from orchestrator.report import plot

_SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_GAP_PX = 64
_SMALL_PX = 200
"""Panels lower than this have fewer ticks."""

_SIMULATED = {
    "text": f"<b>{plot.SIMULATED}</b>",
    "font": {"size": 11, "color": "#a34700"},
    "x": 0,
    "xref": "container",
    "y": 1,
    "yref": "container",
    "yanchor": "top",
    "pad": {"t": 6, "l": 4},
}


def draw(chart: plot.Chart, *, simulated: bool) -> go.Figure:
    """Return the figure, with hover texts, legend and menu; a simulated one says so at the top left."""
    figure = _empty(chart)
    if simulated:
        figure.update_layout(title=_SIMULATED)
    places = [
        {"row": index // chart.columns + 1, "col": index % chart.columns + 1} for index in range(len(chart.panels))
    ]
    _add_traces(figure, chart, places)
    for index, (panel, place) in enumerate(zip(chart.panels, places, strict=True)):
        bottom, left = chart.is_outer(index)
        few = {"nticks": 5} if chart.row_px[place["row"] - 1] < _SMALL_PX else {}
        figure.update_xaxes(**_axis(panel.x, titled=bottom), **place)
        figure.update_yaxes(**_axis(panel.y, titled=left), **few, **place)
        for layer in panel.layers:
            if isinstance(layer, plot.Note):
                _add_note(figure, layer, (panel.x.log, panel.y.log), place)
    return figure


def _empty(chart: plot.Chart) -> go.Figure:
    """Return the axes with the common look: white, thin lines, ticks outside, the legend at the top right."""
    rows, columns = len(chart.row_px), chart.columns
    height = sum(chart.row_px) + _GAP_PX * (rows + 1)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        specs=[[{} if row * columns + i < len(chart.panels) else None for i in range(columns)] for row in range(rows)],
        subplot_titles=[escape(panel.title) for panel in chart.panels],
        row_heights=list(chart.row_px),
        horizontal_spacing=0.0 if columns == 1 else 0.1 if columns == 2 else 0.05,
        vertical_spacing=_GAP_PX / height if rows > 1 else 0,
    )
    at_left = {"x": 0, "xanchor": "left"} if chart.stacked else {}
    figure.update_annotations(font={"size": 14, "color": plot.INK}, **at_left)
    figure.update_layout(
        template=None,
        height=height,
        autosize=True,
        barmode="overlay",
        font={"family": _SANS, "size": 13, "color": plot.INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 64, "r": chart.right_px, "t": 96 if chart.choices else 48, "b": 56},
        hoverlabel={"font": {"family": _SANS}},
        legend={"orientation": "h", "y": 1.0, "yanchor": "top", "yref": "container", "x": 1, "xanchor": "right"},
    )
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(gridcolor=plot.GRID, linecolor=plot.MUTED, zeroline=False, showline=True, ticks="outside", ticklen=4)
        update(title_font_size=13, title_standoff=8, automargin=True)
    return figure


def _axis(scale: plot.Scale, *, titled: bool) -> dict[str, object]:
    drawn: dict[str, object] = {"title_text": escape(scale.title) if titled else "", "showgrid": scale.grid}
    drawn |= {"type": "log"} if scale.log else {"rangemode": "tozero"} if scale.from_zero else {}
    if scale.extent is not None:
        drawn["range"] = [_position(end, scale.log) for end in scale.extent]
    if scale.ticks is not None:
        texts = [_muted_after_first_line(text) for text in scale.ticks.values()]
        drawn |= {"tickvals": list(scale.ticks), "ticktext": texts, "minor": {"ticks": ""}}
    return drawn


def _position(value: float, log: bool) -> float:
    """Return what plotly wants for a place on an axis: on a logarithmic one, the power of ten."""
    return math.log10(value) if log else value


def _muted_after_first_line(text: str) -> str:
    first, *more = escape(text).split("\n")
    return "<br>".join([first, *(f"<span style='color:{plot.MUTED}'>{line}</span>" for line in more)])


def _add_traces(figure: go.Figure, chart: plot.Chart, places: Sequence[dict[str, int]]) -> None:
    """Add the layers that hold data, all at once because each call of plotly is slow; a name is in the legend once."""
    traces: list[go.Trace] = []
    at: list[dict[str, int]] = []
    choices: list[str] = []
    named: set[tuple[str, str]] = set()
    for panel, place in zip(chart.panels, places, strict=True):
        for layer in panel.layers:
            choice = layer.choice if isinstance(layer, plot.Line) else ""
            for trace in _traces(layer):
                key = (trace.name or "", choice)
                shown = bool(trace.name) and chart.legend == "chart" and key not in named
                trace.update(showlegend=shown, legendgroup=trace.name)
                named.add(key)
                traces.append(trace)
                at.append(place)
                choices.append(choice)
    figure.add_traces(traces, rows=[place["row"] for place in at], cols=[place["col"] for place in at])
    if chart.choices:
        _add_menu(figure, chart.choices, choices)


def _add_menu(figure: go.Figure, choices: Sequence[str], choice_of: Sequence[str]) -> None:
    """Add a menu of which one choice is drawn at a time, first the first."""
    visible = {choice: [of in ("", choice) for of in choice_of] for choice in choices}
    for trace, shown in zip(figure.data, visible[choices[0]], strict=True):
        trace.visible = shown
    buttons = [
        {"label": escape(choice), "method": "update", "args": [{"visible": shown}]} for choice, shown in visible.items()
    ]
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "pad": {"b": 30}}
    figure.update_layout(updatemenus=[{**menu, "bgcolor": "white", "bordercolor": plot.FAINT}])


def _traces(layer: plot.Layer) -> list[go.Trace]:
    match layer:
        case plot.Line():
            return [_line(layer)]
        case plot.Band():
            edge: dict[str, Any] = {"mode": "lines", "line": {"shape": "hv", "width": 0}, "hoverinfo": "skip"}
            area = {"fill": "tonexty", "fillcolor": _faint(layer.colour, layer.opacity)}
            return [go.Scatter(x=layer.xs, y=layer.low, **edge), go.Scatter(x=layer.xs, y=layer.high, **edge, **area)]
        case plot.Bars():
            return [_bars(layer)]
        case plot.HeatMap():
            return [_heat_map(layer)]
    return []


def _line(line: plot.Line) -> go.Scatter:
    modes = [mode for mode, drawn in (("lines", line.width), ("markers", line.marker)) if drawn]
    halves = line.halves if any(math.isfinite(half) for half in line.halves) else None
    return go.Scatter(
        x=line.xs,
        y=line.ys,
        error_y=None if halves is None else {"type": "data", "array": halves, "thickness": 1, "width": 3},
        name=escape(line.name),
        mode="+".join(modes),
        line={"color": line.colour, "width": line.width, "dash": line.dash, "shape": "hv" if line.steps else "linear"},
        marker={"color": line.colour, "symbol": line.marker or None, "size": line.size},
        **_hover(line.hover),
    )


def _bars(bars: plot.Bars) -> go.Bar:
    return go.Bar(
        y=bars.rows,
        base=bars.starts,
        x=bars.lengths,
        orientation="h",
        width=0.75,
        name=escape(bars.name),
        marker={"color": bars.colour},
        text=bars.texts or None,
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        **_hover(bars.hover),
    )


def _heat_map(heat: plot.HeatMap) -> go.Heatmap:
    colours = heat.rows
    if heat.log:
        colours = [[math.log10(value) if value > 0 else value for value in row] for row in heat.rows]
    return go.Heatmap(
        z=colours,
        text=[[_html(text) for text in row] for row in heat.texts],
        texttemplate="%{text}",
        textfont={"size": 12},
        colorscale=plot.HEAT,
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        customdata=[[_html(text) for text in row] for row in heat.hover],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _hover(hover: plot.Hover) -> dict[str, Any]:
    if hover is None:
        return {"hoverinfo": "skip"}
    if isinstance(hover, str):
        return {"hovertemplate": f"{_html(hover)}<extra></extra>"} if hover else {}
    return {"customdata": [_html(text) for text in hover], "hovertemplate": "%{customdata}<extra></extra>"}


def _html(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _faint(colour: str, opacity: float) -> str:
    return f"rgba({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))}, {opacity})"


def _add_note(figure: go.Figure, note: plot.Note, log: tuple[bool, bool], place: dict[str, int]) -> None:
    leader = {"arrowhead": 0, "arrowwidth": 0.8, "arrowcolor": plot.MUTED, "ax": note.right_px, "ay": -note.up_px}
    figure.add_annotation(
        x=_position(note.x, log[0]),
        y=_position(note.y, log[1]),
        text=escape(note.text),
        showarrow=note.leader,
        xanchor="left" if note.right_px > 0 else "right",
        font={"size": 11 if note.leader else 13, "color": plot.INK},
        **(leader if note.leader else {"xshift": note.right_px, "yshift": note.up_px}),
        **place,
    )
