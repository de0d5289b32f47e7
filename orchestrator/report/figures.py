"""The figures of the report: which ones a sweep supports, their captions, and both drawings of each."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from plotly.io import to_html

from orchestrator.analysis.axes import Axes
from orchestrator.analysis.pooling import WITHIN, energy_metric, latency_metric, metric_of
from orchestrator.records.metrics import BY_KEY
from orchestrator.records.text_format import capital, metric_name
from orchestrator.report import cell_charts, interactive, static, sweep_charts
from orchestrator.report.detail import Detail, shares_of
from orchestrator.report.label_placement import n_unlabelled
from orchestrator.report.panels import front_panels, panel_names
from orchestrator.report.plot import Chart

MAX_PANELS, MAX_COLUMNS = 12, 6
"""Maximum number of panels in a figure, and side by side."""

_CONFIG = {"responsive": True, "displayModeBar": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One figure: its file name without suffix, what it shows, the HTML part, the PNG."""

    name: str
    section: str
    caption: str
    html: str
    png: bytes

    @property
    def base64(self) -> str:
        """Return the PNG for the ``src`` of an image."""
        return b64encode(self.png).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Draw the figures that the points and details support; skip those of what was not measured."""

    points: pd.DataFrame
    axes: Axes
    details: tuple[Detail, ...]
    simulated: bool

    def all(self) -> Iterator[Drawn]:
        """Yield the figures in the order of the page."""
        for metric in ("gpu_energy_j_per_workflow", "gpu_energy_j_per_request", "gpu_energy_j_per_output_token"):
            if metric == "gpu_energy_j_per_request" and metric_of(self.points, "gpu_energy_j_per_workflow"):
                continue
            if metric_of(self.points, metric) is not None:
                yield self._energy(metric)
        yield from self._front()
        yield from self._latency()
        yield from self._split()
        yield from self._power()
        yield from self._gantt()

    def _energy(self, metric: str) -> Drawn:
        x, y = self.axes.x, self.axes.y
        points, left_out = self._first_panels(MAX_PANELS)
        name = metric.removeprefix("gpu_").replace("_j_", "_")
        title = metric_name(metric)
        means = " Means of repeats ± half the 95 % t interval." if (points["n"] > 1).any() else ""
        means += self._within(metric) + left_out
        if x is None or y is None:
            caption = f"{title} in {BY_KEY[metric].unit}.{means}"
            chart = sweep_charts.curves(points, self.axes, metric)
        else:
            caption = (
                f"{title} in {BY_KEY[metric].unit}, {x.title} by {y.title}; darker is less, the least is framed. "
                f"Each panel has its own colours; a blank has no usable cell.{means}"
            )
            chart = sweep_charts.heat_maps(points, x, y, metric)
        return self._drawn(name, "energy", caption, chart)

    def _within(self, metric: str) -> str:
        """Return a sentence about the intervals of points of one cell; empty if there are none."""
        if WITHIN + metric not in self.points or not self.points[WITHIN + metric].notna().any():
            return ""
        mark = "in brackets" if self.axes.x is not None and self.axes.y is not None else "bars of points of one cell"
        return f" {mark[0].upper()}{mark[1:]}: ± within the cell's window (95 %, by its blocks), not between repeats."

    def _front(self) -> Iterator[Drawn]:
        energy, latency = energy_metric(self.points), latency_metric(self.points)
        points, left_out = self._first_panels(MAX_PANELS)
        panels = front_panels(points)
        if energy is None or latency is None or all(len(panel.labels) < 2 for panel in panels):
            return
        caption = (
            f"{metric_name(energy)} against {metric_name(latency)}. Nothing beats a blue point in both; grey ones are "
            "beaten; those far from the front are left out of the view. The table names every member"
            f"{_only_in_table(n_unlabelled(panels))}.{left_out}"
        )
        yield self._drawn("pareto", "front", caption, sweep_charts.fronts(panels, latency, energy))

    def _latency(self) -> Iterator[Drawn]:
        kinds = [kind for kind in ("ttft", "tpot", "e2el", "workflow") if self._has(kind)]
        if "tpot" not in kinds and self._has("itl"):
            kinds.insert(1, "itl")
        if not kinds:
            return
        points, left_out = self._first_panels(MAX_COLUMNS)
        chosen = f" The menu chooses the {self.axes.y.title}." if self.axes.y is not None else ""
        caption = f"Median, 90th and 99th percentile of each latency.{chosen}{left_out}"
        yield self._drawn("latency", "latency", caption, sweep_charts.latency_percentiles(points, self.axes, kinds))

    def _split(self) -> Iterator[Drawn]:
        shares = shares_of(self.points)
        if shares:
            caption = (
                "Share of the window's GPU energy in prompt processing, token generation and intervals without any "
                "request, at the point of least energy of each panel; what the method leaves over is not attributed. "
                "Static power counts as prefill or decode while the GPU does that, as idle only without any request."
            )
            yield self._drawn("energy_split", "joules", caption, cell_charts.energy_split(shares))

    def _power(self) -> Iterator[Drawn]:
        if any(detail.power is not None for detail in self.details):
            caption = (
                "Power of all GPUs of the cell of least energy: mean in bins (conserves energy, steps stay steps) and "
                "extremes in each bin; the cap is dashed, the measured window shaded. Dotted: mean power of the cell "
                "that differs only in having the highest cap of the sweep, where that is another."
            )
            yield self._drawn("power", "power", caption, cell_charts.power_over_time(self.details))

    def _gantt(self) -> Iterator[Drawn]:
        if any(detail.bars for detail in self.details):
            which = (
                "the cell of least energy" if energy_metric(self.points) is not None else "the first cell of each panel"
            )
            caption = (
                f"One workflow of {which}, a bar a step: from ready (its parents had finished) to "
                "scheduled, to its first token, to its last. Of the workflows with the most steps it is the one of "
                "median length."
            )
            yield self._drawn("gantt", "workflow", caption, cell_charts.gantt(self.details))

    def _first_panels(self, most: int) -> tuple[pd.DataFrame, str]:
        """Return the points of as many panels as fit a figure, and a sentence about the panels left out."""
        names = panel_names(self.points)
        if len(names) <= most:
            return self.points, ""
        kept = self.points[self.points["panel"].isin(names[:most])]
        return kept, f" The first {most} of {len(names)} panels; every cell is in the table."

    def _has(self, kind: str) -> bool:
        return metric_of(self.points, f"median_{kind}_ms", f"p90_{kind}_ms", f"p99_{kind}_ms") is not None

    def _drawn(self, name: str, section: str, caption: str, chart: Chart) -> Drawn:
        figure = interactive.draw(chart, simulated=self.simulated)
        html = to_html(figure, full_html=False, include_plotlyjs=False, div_id=f"plot-{name}", config=_CONFIG)
        png = static.png(chart, simulated=self.simulated)
        return Drawn(name=name, section=section, caption=capital(caption), html=html, png=png)


def _only_in_table(count: int) -> str:
    if count == 0:
        return ""
    return f"; {count} {'has' if count == 1 else 'have'} no room for a name in the figure"
