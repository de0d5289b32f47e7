"""The figure of a recording: the readings after the load is switched on, and the times between updates."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.sensor.analysis import changes
from orchestrator.sensor.recording import STEP, Recording

_COLOURS = {"power_w": "#0072B2", "average_power_w": "#E69F00", "energy_j": "#6b6b6b"}
_BINS_MS = [float(edge) for edge in range(0, 255, 5)]
_SHOWN_S = (-0.3, 1.5)


def draw_figure(recording: Recording, path: Path) -> None:
    """Write a PNG; what was not recorded leaves its panel empty."""
    figure = Figure(figsize=(9.6, 3.4), dpi=150, layout="constrained")
    step, updates = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_step(step, recording)
    _draw_updates(updates, recording)
    for axes in (step, updates):
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    figure.savefig(path)


def _draw_step(axes: Axes, recording: Recording) -> None:
    axes.set(title="Load on at 0 s", xlabel="s", ylabel="W", xlim=_SHOWN_S)
    stage = recording.about.stages.get(STEP)
    if stage is None or not stage.edges_s:
        return
    on_s = stage.edges_s[0][0]
    for name in ("power_w", "average_power_w"):
        t_s, power_w = recording.series(STEP, name)
        axes.step(t_s - on_s, power_w, where="post", label=name, color=_COLOURS[name])
    moved_s, energy_j = changes([recording.series(STEP, "energy_j")])
    if len(moved_s) > 1:
        slope_w = np.diff(energy_j) / np.diff(moved_s)
        axes.stairs(slope_w, moved_s - on_s, baseline=None, label="slope of energy_j", color=_COLOURS["energy_j"])
    axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
    axes.set_ylim(bottom=0)


def _draw_updates(axes: Axes, recording: Recording) -> None:
    """Show the stages in which the load switched: a steady power need not change at an update."""
    axes.set(title="Time between changes", xlabel="ms", ylabel="share of the changes")
    for name in ("power_w", "energy_j"):
        spans = [np.diff(changes([span])[0]) for span in recording.spans(name, loaded=True)]
        between_ms = np.concatenate([np.empty(0), *spans]) * 1e3
        if len(between_ms):
            weights = np.full(len(between_ms), 1 / len(between_ms))
            axes.hist(between_ms, _BINS_MS, weights=weights, histtype="step", label=name, color=_COLOURS[name])
