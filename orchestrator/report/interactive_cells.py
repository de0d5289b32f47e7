"""The interactive figures of single cells: where the joules went, power over time, one workflow's steps."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from orchestrator.report import theme
from orchestrator.report.detail import Detail, Share, parts_of
from orchestrator.report.interactive import dress, stacked
from orchestrator.report.timeline import MANY_STEPS, PARTS_OF_STEP, Bar, Floats, PowerTrace, bar_ticks


def energy_split(shares: Sequence[Share]) -> go.Figure:
    """A bar a panel, parts as shares of the energy, the joules written at the end."""
    figure = go.Figure()
    names = [
        f"{escape(share.panel)}<br><span style='color:{theme.MUTED}'>{escape(share.label)}</span>" for share in shares
    ]
    for part, colour in parts_of(shares).items():
        values = [100 * share.parts.get(part, 0.0) for share in shares]
        figure.add_trace(
            go.Bar(
                y=names,
                x=values,
                name=part,
                orientation="h",
                marker={"color": colour},
                text=[f"{value:.0f} %" if value >= 4 else "" for value in values],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                hovertemplate=f"{part}: %{{x:.1f}} %<extra>%{{y}}</extra>",
            )
        )
    for name, share in zip(names, shares, strict=True):
        figure.add_annotation(x=1.01, xref="paper", y=name, text=escape(share.total), showarrow=False, xanchor="left")
    dress(figure, 110 + 58 * len(shares))
    figure.update_layout(barmode="stack", bargap=0.35, legend={"traceorder": "normal"}, margin={"r": 150})
    figure.update_xaxes(title_text="share of GPU energy (%)", range=[0, 100])
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False)
    return figure


def power_over_time(details: Sequence[Detail]) -> go.Figure:
    """A panel a cell: mean power in bins with its extremes, the cap, and the measured window shaded."""
    drawn = [detail for detail in details if detail.power is not None]
    figure = stacked([f"{detail.panel}: {detail.label}" for detail in drawn], 170)
    for row, detail in enumerate(drawn, start=1):
        _power(figure, detail, row)
    figure.update_xaxes(title_text="time in the cell (s)", row=len(drawn), col=1)
    return figure


def _power(figure: go.Figure, detail: Detail, row: int) -> None:
    trace, where = detail.power, {"row": row, "col": 1}
    if trace is None:
        return
    plain = {"hoverinfo": "skip", "showlegend": False}
    figure.add_trace(_stairs(trace, trace.low_w, {"width": 0}, **plain), **where)
    band = {"fill": "tonexty", "fillcolor": "rgba(86,180,233,0.35)"}
    figure.add_trace(_stairs(trace, trace.high_w, {"width": 0}, **plain, **band), **where)
    told = {"showlegend": False, "hovertemplate": "%{x:.2f} s: %{y:.0f} W<extra></extra>"}
    figure.add_trace(_stairs(trace, trace.mean_w, {"color": theme.BLUE, "width": 1.3}, **told), **where)
    if detail.uncapped is not None:
        beside, label = detail.uncapped.power, escape(detail.uncapped.label)
        line = {"color": theme.ORANGE, "width": 1.2, "dash": "dot"}
        told |= {"name": label, "hovertemplate": f"{label}: %{{x:.2f}} s, %{{y:.0f}} W<extra></extra>"}
        figure.add_trace(_stairs(beside, beside.mean_w, line, **told), **where)
    if detail.window_s is not None:
        figure.add_vrect(
            x0=detail.window_s[0], x1=detail.window_s[1], fillcolor=theme.GREEN, opacity=0.09, line_width=0, **where
        )
    if detail.cap_w is not None:
        note = {"annotation_text": f"cap {detail.cap_w:g} W", "annotation_position": "top right"}
        figure.add_hline(
            y=detail.cap_w, line={"color": theme.VERMILLION, "dash": "dash", "width": 1.5}, **note, **where
        )
    figure.update_yaxes(title_text="GPU power (W)", range=[0, 1.18 * detail.most_w], nticks=5, **where)


def _stairs(trace: PowerTrace, watts: Floats, line: dict[str, Any], **look: Any) -> go.Scatter:
    times, values = trace.stairs(watts)
    shape = {"mode": "lines", "line": {"shape": "hv", **line}}
    return go.Scatter(x=times.round(4).tolist(), y=values.round(1).tolist(), **shape, **look)


def gantt(details: Sequence[Detail]) -> go.Figure:
    """A panel a workflow: each step from ready to finished, split into what it waited for and what it did."""
    drawn = [detail for detail in details if detail.bars]
    heights = [min(max(3, len(detail.bars)), MANY_STEPS) for detail in drawn]
    figure = stacked([f"{detail.panel}: {detail.label}" for detail in drawn], 150, weights=heights, unit=19)
    named: set[str] = set()
    for row, detail in enumerate(drawn, start=1):
        for part, colour in PARTS_OF_STEP.items():
            if any(part in bar.spans() for bar in detail.bars):
                figure.add_trace(_gantt_bars(detail.bars, part, colour, legend=part not in named), row=row, col=1)
                named.add(part)
        figure.update_xaxes(range=[0, 1.03 * max(bar.finished_s for bar in detail.bars)], row=row, col=1)
        figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", row=row, col=1)
        places, names = bar_ticks(detail.bars)
        figure.update_yaxes(tickvals=places, ticktext=[escape(name) for name in names], row=row, col=1)
    figure.update_layout(barmode="overlay", bargap=0.25)
    figure.update_xaxes(title_text="time since the workflow arrived (s)", row=len(drawn), col=1)
    return figure


def _gantt_bars(bars: Sequence[Bar], part: str, colour: str, *, legend: bool) -> go.Bar:
    spans = [bar.spans().get(part, (math.nan, math.nan)) for bar in bars]
    return go.Bar(
        y=[escape(bar.name) for bar in bars],
        base=[start for start, _ in spans],
        x=[end - start for start, end in spans],
        orientation="h",
        name=part,
        legendgroup=part,
        showlegend=legend,
        marker={"color": colour},
        hovertemplate=f"{part}: %{{x:.3f}} s from %{{base:.3f}} s<extra>%{{y}}</extra>",
    )
