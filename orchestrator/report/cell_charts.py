"""The charts of single cells: where the energy went, power over time, the steps of one workflow."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.report import plot
from orchestrator.report.detail import Detail, Share
from orchestrator.report.timeline import MANY_STEPS, Bar, Floats, PowerTrace, bar_ticks

_PARTS_OF_ENERGY = {"prefill": plot.ORANGE, "decode": plot.BLUE, "idle": plot.FAINT, "not attributed": "#8a8a8a"}
_PARTS_OF_STEP = {"queue": plot.FAINT, "prefill": plot.ORANGE, "decode": plot.BLUE, "running": plot.SKY}
_SHOWN_PERCENT = 0.05
"""A part that is smaller everywhere would be shown as 0.0 %."""


def energy_split(shares: Sequence[Share]) -> plot.Chart:
    """Return a bar for each panel with the parts as shares of its energy, and the energy at its end."""
    rows = list(range(len(shares)))
    layers: list[plot.Layer] = []
    starts = np.zeros(len(shares))
    for part, colour in _PARTS_OF_ENERGY.items():
        values = [100 * share.parts.get(part, 0.0) for share in shares]
        if max(values) >= _SHOWN_PERCENT:
            texts = [f"{value:.0f} %" if value >= 4 else "" for value in values]
            hover = [f"{share.panel}\n{part}: {value:.1f} %" for share, value in zip(shares, values, strict=True)]
            place: dict[str, Sequence[float]] = {"rows": rows, "starts": starts.tolist(), "lengths": values}
            layers.append(plot.Bars(**place, colour=colour, name=part, hover=hover, texts=texts))
        starts += values
    layers += [plot.Note(x=100, y=row, text=shares[row].total, right_px=8, leader=False) for row in rows]
    ticks = {float(row): f"{shares[row].panel}\n{shares[row].label}" for row in rows}
    x = plot.Scale(title="share of GPU energy (%)", extent=(0, 100))
    y = plot.Scale(ticks=ticks, extent=(len(shares) - 0.4, -0.6), grid=False)
    return plot.Chart(
        title="Where the joules went, at the point of least energy",
        panels=[plot.Panel(x=x, y=y, layers=layers)],
        columns=1,
        row_px=[58 * len(shares)],
        size_in=(8, 1.2 + 0.55 * len(shares)),
        right_px=150,
    )


def power_over_time(details: Sequence[Detail]) -> plot.Chart:
    """Return a panel for each cell: mean power in bins with its extremes, the cap, the measured window shaded."""
    panels = [_power(detail, detail.power) for detail in details if detail.power is not None]
    return plot.Chart(
        title="GPU power over time (window shaded, cap dashed)",
        panels=panels,
        columns=1,
        row_px=[170] * len(panels),
        size_in=(9, 0.6 + 1.9 * len(panels)),
        legend="panel",
    )


def _power(detail: Detail, trace: PowerTrace) -> plot.Panel:
    times, low = _rounded(trace, trace.low_w)
    start_s, end_s, top_w = times[0], times[-1], 1.18 * detail.most_w
    layers: list[plot.Layer] = [
        plot.Band(xs=times, low=low, high=_rounded(trace, trace.high_w)[1], colour=plot.SKY, opacity=0.35),
        _stairs(trace, detail.label, plot.BLUE, 1.3),
    ]
    if detail.uncapped is not None:
        layers.append(_stairs(detail.uncapped.power, detail.uncapped.label, plot.ORANGE, 1.2, dash="dot"))
        end_s = max(end_s, float(detail.uncapped.power.edges_s[-1]))
    if detail.window_s is not None:
        layers.append(plot.Band(xs=detail.window_s, low=(0, 0), high=(top_w,) * 2, colour=plot.GREEN, opacity=0.09))
    if detail.cap_w is not None:
        cap: dict[str, Any] = {"colour": plot.VERMILLION, "width": 1.5, "dash": "dash", "hover": None}
        layers.append(plot.Line(xs=(start_s, end_s), ys=(detail.cap_w,) * 2, **cap))
        name = f"cap {detail.cap_w:g} W"
        layers.append(plot.Note(x=end_s, y=detail.cap_w, text=name, right_px=-2, up_px=8, leader=False))
    return plot.Panel(
        title=f"{detail.panel}: {detail.label}",
        x=plot.Scale(title="time in the cell (s)", extent=(start_s, end_s)),
        y=plot.Scale(title="GPU power (W)", extent=(0, top_w)),
        layers=layers,
    )


def _stairs(trace: PowerTrace, label: str, colour: str, width: float, dash: plot.Dash = "solid") -> plot.Line:
    times, watts = _rounded(trace, trace.mean_w)
    hover = f"{label}: %{{x:.2f}} s, %{{y:.0f}} W"
    return plot.Line(xs=times, ys=watts, colour=colour, name=label, width=width, dash=dash, steps=True, hover=hover)


def _rounded(trace: PowerTrace, watts: Floats) -> tuple[list[float], list[float]]:
    """Return times and values to the digits that show, which keeps the page small."""
    times, values = trace.stairs(watts)
    return times.round(4).tolist(), values.round(1).tolist()


def gantt(details: Sequence[Detail]) -> plot.Chart:
    """Return a panel for each workflow: each step from ready to finished, split into waiting, prefill and decode."""
    drawn = [detail for detail in details if detail.bars]
    rows = [min(max(3, len(detail.bars)), MANY_STEPS) for detail in drawn]
    return plot.Chart(
        title="One workflow, step by step",
        panels=[_workflow(detail) for detail in drawn],
        columns=1,
        row_px=[19 * count for count in rows],
        size_in=(9, 0.9 + sum(0.55 + 0.17 * count for count in rows)),
    )


def _workflow(detail: Detail) -> plot.Panel:
    bars = detail.bars
    ticks = {float(row): name for row, name in zip(*bar_ticks(bars), strict=True)}
    end_s = max(bar.finished_s for bar in bars)
    return plot.Panel(
        title=f"{detail.panel}: {detail.label}",
        x=plot.Scale(title="time since the workflow arrived (s)", extent=(0, 1.03 * end_s)),
        y=plot.Scale(ticks=ticks, extent=(len(bars) - 0.4, -0.6), grid=False),
        layers=[
            _part(bars, part, colour)
            for part, colour in _PARTS_OF_STEP.items()
            if any(part in bar.spans() for bar in bars)
        ],
    )


def _part(bars: Sequence[Bar], part: str, colour: str) -> plot.Bars:
    spans = [(row, bar.name, *bar.spans()[part]) for row, bar in enumerate(bars) if part in bar.spans()]
    return plot.Bars(
        rows=[row for row, *_ in spans],
        starts=[start for *_, start, _ in spans],
        lengths=[end - start for *_, start, end in spans],
        colour=colour,
        name=part,
        hover=[f"{name}\n{part}: {end - start:.3f} s from {start:.3f} s" for _, name, start, end in spans],
    )
