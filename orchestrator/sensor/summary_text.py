"""The summary of a power sensor as text: Markdown tables that can also be read at a terminal."""

from collections.abc import Sequence

from orchestrator.sensor.record import SAMPLE_EVERY_S
from orchestrator.sensor.recording import CONTEXT, IDLE, IDLE_POLLED
from orchestrator.sensor.summary import LOAD, SamplerFigures, Summary

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
        (
            f"{wave.period_s * 1e3:.0f}",
            str(wave.turns),
            *map(_percent, (wave.counter_error_ratio, wave.gap_ratio, wave.sampled_gap_ratio)),
        )
        for wave in summary.waves
    ]
    tables = [_table(_READINGS_HEAD, readings), _table(_LEVELS_HEAD, levels), _table(_WAVES_HEAD, waves)]
    sampler = [] if summary.sampler is None else [_sampler_line(summary.sampler)]
    return "\n\n".join(part for part in (*tables, *sampler) if part)


def _sampler_line(found: SamplerFigures) -> str:
    return (
        f"Sampler, every {SAMPLE_EVERY_S * 1e3:.0f} ms: {found.samples} samples, {found.mean_s * 1e3:.2f} ms apart "
        f"(p99 {found.p99_s * 1e3:.2f}, longest {found.max_s * 1e3:.2f}), {found.core_ratio:.2%} of a CPU core"
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
