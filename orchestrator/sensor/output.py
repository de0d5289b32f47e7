"""What `doctor sensor` shows: the summary as Markdown tables, and the figure of a recording."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.sensor.analysis import changes
from orchestrator.sensor.recording import CONTEXT, IDLE, IDLE_POLLED, SAMPLE_EVERY_S, STEP, Recording
from orchestrator.sensor.summary import LOAD, SamplerFigures, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SOURCES = {"power_usage_w": "nvmlDeviceGetPowerUsage", "energy_j": "energy_j (counter)"}
_STATES = {
    IDLE: f"idle, read every {SAMPLE_EVERY_S * 1e3:.0f} ms",
    IDLE_POLLED: "idle, read every 1 ms",
    CONTEXT: "CUDA context, idle",
    LOAD: "matrix products",
}
_READINGS_HEAD = ("reading", "updates every, ms", "averages, ms", "delay, ms", "R²", "step, W or J", "call (p99), µs")
_LEVELS_HEAD = ("state", "counter, W", "integral, W", "gap, %")
_WAVES_HEAD = ("square wave, ms", "turns", "counter over levels, %", "gap, %", "gap of a sample in 50 ms, %")
_COLOURS = {"power_w": "#0072B2", "average_power_w": "#E69F00", "energy_j": "#6b6b6b"}
_BINS_MS = [float(edge) for edge in range(0, 255, 5)]
_SHOWN_S = (-0.3, 1.5)


def summary_text(summary: Summary) -> str:
    """Return three tables and a line on the sampler; an empty table cell means that it was not measured."""
    readings = [
        (
            _SOURCES.get(name, name),
            _number(reading.update_period_s, ".1f", 1e3),
            _number(reading.window_s, ".0f", 1e3),
            _number(reading.delay_s, ".0f", 1e3),
            _number(reading.r2, ".4f"),
            _number(reading.resolution, "g"),
            f"{reading.call_s * 1e6:.0f} ({reading.call_p99_s * 1e6:.0f})",
        )
        for name, reading in summary.readings.items()
    ]
    levels = [
        (_STATES[name], _number(level.counter_w, ".1f"), _number(level.integral_w, ".1f"), _percent(level.gap_ratio))
        for name, level in summary.levels.items()
    ]
    waves = [
        (f"{wave.period_s * 1e3:.0f}", str(wave.turns), *map(_percent, ratios))
        for wave in summary.waves
        for ratios in [(wave.counter_error_ratio, wave.gap_ratio, wave.sampled_gap_ratio)]
    ]
    tables = (_table(_READINGS_HEAD, readings), _table(_LEVELS_HEAD, levels), _table(_WAVES_HEAD, waves))
    sampler = "" if summary.sampler is None else _sampler_line(summary.sampler)
    return "\n\n".join(filter(None, (*tables, sampler)))


def _sampler_line(sampler: SamplerFigures) -> str:
    return (
        f"Sampler, every {SAMPLE_EVERY_S * 1e3:.0f} ms: {sampler.samples} samples, {sampler.mean_s * 1e3:.2f} ms apart "
        f"(p99 {sampler.p99_s * 1e3:.2f}, longest {sampler.max_s * 1e3:.2f}), {sampler.core_ratio:.2%} of a CPU core"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns; empty if there are no rows."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = (head, ["-" * width for width in widths], *rows) if rows else ()
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "" if value is None else f"{value * scale:{form}}"


def _percent(ratio: float | None) -> str:
    return _number(ratio, "+.2f", 100)


def draw_figure(recording: Recording, path: Path) -> None:
    """Write a PNG of the readings after the load is switched on, and of the times between updates.

    What was not recorded leaves its panel empty.

    Raises:
        ImportError: matplotlib is not installed, as on some GPU hosts.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.4), dpi=150, layout="constrained")
    step, updates = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_step(step, recording)
    _draw_updates(updates, recording)
    for axes in (step, updates):
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    figure.savefig(path)


def _draw_step(axes: "Axes", recording: Recording) -> None:
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


def _draw_updates(axes: "Axes", recording: Recording) -> None:
    """Show the stages in which the load switched: a steady power need not change at an update."""
    axes.set(title="Time between changes", xlabel="ms", ylabel="share of the changes")
    for name in ("power_w", "energy_j"):
        spans = [np.diff(changes([span])[0]) for span in recording.spans(name, loaded=True)]
        between_ms = np.concatenate([np.empty(0), *spans]) * 1e3
        if len(between_ms):
            weights = np.full(len(between_ms), 1 / len(between_ms))
            axes.hist(between_ms, _BINS_MS, weights=weights, histtype="step", label=name, color=_COLOURS[name])
