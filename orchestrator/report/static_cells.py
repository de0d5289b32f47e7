"""The same figures as PNGs, of single cells: energy shares, power over time, one workflow's steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure

from orchestrator.report import theme
from orchestrator.report.detail import Detail, Share, parts_of
from orchestrator.report.static import STYLE, new_figure
from orchestrator.report.timeline import MANY_STEPS, PARTS_OF_STEP, bar_ticks


def energy_split(shares: Sequence[Share], *, simulated: bool) -> Figure:
    """A bar a panel, parts as shares of the energy, the joules written at the end."""
    figure = new_figure(
        8, 1.2 + 0.55 * len(shares), "Where the joules went, at the point of least energy", simulated=simulated
    )
    with rc_context(STYLE):
        panel = figure.subplots()
        left = np.zeros(len(shares))
        for part, colour in parts_of(shares).items():
            values = np.array([100 * share.parts.get(part, 0.0) for share in shares])
            bars = panel.barh(range(len(shares)), values, left=left, color=colour, label=part, height=0.6)
            inside = [f"{value:.0f} %" if value >= 5 else "" for value in values]
            panel.bar_label(
                bars, inside, label_type="center", fontsize=8, color="white" if part == "decode" else theme.INK
            )
            left += values
        for index, share in enumerate(shares):
            panel.text(101, index, share.total, va="center", fontsize=8)
        panel.set_yticks(range(len(shares)), [f"{share.panel}\n{share.label}" for share in shares])
        panel.set_xlabel("share of GPU energy (%)")
        panel.set_xlim(0, 100)
        panel.invert_yaxis()
        panel.grid(visible=False)
        figure.legend(loc="outside lower right", ncols=len(theme.PARTS), fontsize=8)
    return figure


def power_over_time(details: Sequence[Detail], *, simulated: bool) -> Figure:
    """A panel a cell: mean power in bins with its extremes, the cap, and the measured window shaded."""
    drawn = [detail for detail in details if detail.power is not None]
    title = "GPU power over time (window shaded, cap dashed)"
    figure = new_figure(9, 0.6 + 1.9 * len(drawn), title, simulated=simulated)
    with rc_context(STYLE):
        for panel, detail in zip(figure.subplots(len(drawn), 1, squeeze=False)[:, 0], drawn, strict=True):
            _power(panel, detail)
            panel.set_title(f"{detail.panel}: {detail.label}", loc="left")
            panel.set_ylabel("GPU power (W)")
        panel.set_xlabel("time in the cell (s)")
    return figure


def _power(panel: Panel, detail: Detail) -> None:
    trace = detail.power
    if trace is None:
        return
    times, low = trace.stairs(trace.low_w)
    _, high = trace.stairs(trace.high_w)
    panel.fill_between(times, low, high, step="post", color=theme.SKY, alpha=0.35, linewidth=0)
    held: dict[str, Any] = {"drawstyle": "steps-post", "linewidth": 1}
    panel.plot(*trace.stairs(trace.mean_w), color=theme.BLUE, label=detail.label, **held)
    if detail.uncapped is not None:
        beside = detail.uncapped.power
        dotted: dict[str, Any] = {"color": theme.ORANGE, "linestyle": ":", "label": detail.uncapped.label}
        panel.plot(*beside.stairs(beside.mean_w), **dotted, **held)
        panel.legend(loc="lower right", fontsize=8)
    if detail.window_s is not None:
        panel.axvspan(*detail.window_s, color=theme.GREEN, alpha=0.09, linewidth=0)
    if detail.cap_w is not None:
        panel.axhline(detail.cap_w, color=theme.VERMILLION, linestyle="--", linewidth=1.2)
    panel.set_ylim(0, 1.15 * detail.most_w)
    panel.margins(x=0)


def gantt(details: Sequence[Detail], *, simulated: bool) -> Figure:
    """A panel a workflow: each step from ready to finished, split into what it waited for and what it did."""
    drawn = [detail for detail in details if detail.bars]
    heights = [min(max(3, len(detail.bars)), MANY_STEPS) for detail in drawn]
    height = 0.9 + sum(0.55 + 0.17 * rows for rows in heights)
    figure = new_figure(9, height, "One workflow, step by step", simulated=simulated)
    with rc_context(STYLE):
        grid = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=heights)[:, 0]
        for panel, detail in zip(grid, drawn, strict=True):
            _gantt(panel, detail)
            panel.set_title(f"{detail.panel}: {detail.label}", loc="left")
        panel.set_xlabel("time since the workflow arrived (s)")
        handles = {
            text: handle for panel in grid for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="upper right", ncols=len(handles), fontsize=8)
    return figure


def _gantt(panel: Panel, detail: Detail) -> None:
    for part, colour in PARTS_OF_STEP.items():
        rows = [(index, *bar.spans()[part]) for index, bar in enumerate(detail.bars) if part in bar.spans()]
        if rows:
            places, starts, ends = zip(*rows, strict=True)
            panel.barh(places, np.subtract(ends, starts), left=starts, color=colour, height=0.75, label=part)
    panel.set_yticks(*bar_ticks(detail.bars), fontsize=7)
    panel.set_ylim(len(detail.bars) - 0.4, -0.6)
    panel.grid(visible=False, axis="y")
