"""Empty interactive figures: how panels are laid out and what all of them look like."""

from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from orchestrator.report import theme


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
