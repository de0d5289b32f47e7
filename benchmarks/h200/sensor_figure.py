"""A figure of a recording of a power sensor: its answer to a step, and the times between its renewals."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.h200.sensor_analysis import changes_of
from benchmarks.h200.sensor_recording import Recording

_LINES = {"instant_mw": "POWER_INSTANT", "average_mw": "POWER_AVERAGE"}
_RENEWED = {"instant_mw": "POWER_INSTANT", "energy_mj": "counter"}
_BINS_MS = np.arange(0, 255, 5)
_SHOWN_S = (-0.3, 1.5)
_BLUE, _ORANGE, _GREY = "#2a6f97", "#d1603d", "#8a8f98"


def sensor_figure(recording: Recording, path: Path) -> None:
    """Writes a PNG; a step that was not run leaves its panel empty."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    step, renewals = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_step(step, recording)
    _draw_renewals(renewals, recording)
    for axes in (step, renewals):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _draw_step(axes: Any, recording: Recording) -> None:
    edges_s = recording.stages.get("step", {}).get("edges_s", ())
    axes.set(title="Load on at 0", xlabel="s", ylabel="W", xlim=_SHOWN_S)
    if not edges_s:
        return
    on_s = edges_s[0][0]
    for (query, words), colour in zip(_LINES.items(), (_BLUE, _ORANGE), strict=True):
        times_s, power_mw = recording.series("step", query)
        axes.step(times_s - on_s, power_mw / 1e3, where="post", label=words, color=colour)
    changed_s, counter_mj = changes_of(*recording.series("step", "energy_mj"))
    if len(changed_s) > 1:
        slope_w = np.diff(counter_mj) / np.diff(changed_s) / 1e3
        axes.step(
            changed_s - on_s, np.insert(slope_w, 0, slope_w[0]), where="pre", label="counter's slope", color=_GREY
        )
    axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="lower right")


def _draw_renewals(axes: Any, recording: Recording) -> None:
    """Of the stages with a load that were polled: in between a steady power need not move."""
    axes.set(title="Time between two changes", xlabel="ms", ylabel="share of them")
    stages = [name for name in recording.stages if name == "step" or name.startswith("wave_")]
    for (query, words), colour in zip(_RENEWED.items(), (_BLUE, _GREY), strict=True):
        spans = [np.diff(changes_of(*span)[0]) for span in recording.spans(stages, query)]
        between_ms = np.concatenate([np.empty(0), *spans]) * 1e3
        if len(between_ms):
            weights = np.full(len(between_ms), 1 / len(between_ms))
            axes.hist(between_ms, _BINS_MS, weights=weights, histtype="step", label=words, color=colour, linewidth=1.5)
            axes.legend(frameon=False)
