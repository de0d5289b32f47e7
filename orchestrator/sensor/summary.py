"""Summarise the recording of a power sensor. What the recording does not show is None."""

import numpy as np
from pydantic import BaseModel

from collectors.update_period import update_period
from orchestrator.measure.columns import Floats
from orchestrator.sensor.analysis import (
    between_updates,
    changes,
    counter_mean_w,
    fit_counter_delay,
    fit_window,
    integral_mean_w,
    load_share,
    resolution,
)
from orchestrator.sensor.recording import (
    CONTEXT,
    IDLE,
    IDLE_POLLED,
    SAMPLE_EVERY_S,
    SAMPLER,
    STEP,
    WAVE,
    Recording,
    Stage,
)

LOAD = "load"
_MAX_WINDOW_S = {"power_w": 0.25, "average_power_w": 1.5, "power_usage_w": 1.5}
_MAX_DELAY_S = 0.3
_SETTLED_S = 2.0
_EDGE_S = 0.2


class Reading(BaseModel):
    """One reading of the driver; ``resolution`` is in its unit, the rest is from `collectors` and `analysis`."""

    call_s: float
    call_p99_s: float
    update_period_s: float | None = None
    resolution: float | None = None
    window_s: float | None = None
    delay_s: float | None = None
    r2: float | None = None


class Level(BaseModel):
    """Mean power in a steady state, by the counter and by the integral; ``gap_ratio`` is integral / counter - 1."""

    counter_w: float | None
    integral_w: float | None
    gap_ratio: float | None


class Wave(BaseModel):
    """A square wave of the load, over whole periods; ``gap_ratio`` as in `Level`.

    ``sampled_gap_ratio`` is that of one sample every `SAMPLE_EVERY_S`; ``counter_error_ratio`` compares the counter
    with the steady levels of `CONTEXT` and `LOAD`.
    """

    period_s: float
    turns: int
    gap_ratio: float | None
    sampled_gap_ratio: float | None
    counter_error_ratio: float | None


class SamplerFigures(BaseModel):
    """The product's sampler at a period of `SAMPLE_EVERY_S`; ``core_ratio`` is its share of one CPU core."""

    samples: int
    mean_s: float
    p99_s: float
    max_s: float
    core_ratio: float
    gap_ratio: float | None


class Summary(BaseModel):
    """All properties. ``levels`` by stage, of those recorded; ``waves`` by rising period."""

    readings: dict[str, Reading]
    levels: dict[str, Level]
    waves: list[Wave]
    sampler: SamplerFigures | None


def summarize(recording: Recording) -> Summary:
    """Summarise a recording, complete or not."""
    levels = _levels(recording)
    waves = [_wave(recording, name, levels) for name in recording.about.stages if name.startswith(WAVE)]
    return Summary(
        readings={name: _reading(recording, name) for name in recording.about.calls},
        levels=levels,
        waves=sorted(filter(None, waves), key=lambda wave: wave.period_s),
        sampler=_sampler(recording),
    )


def _reading(recording: Recording, name: str) -> Reading:
    call = recording.about.calls[name]
    reading = Reading(call_s=call.median_s, call_p99_s=call.p99_s)
    spans = list(recording.spans(name))
    if spans:
        period = update_period(*max(spans, key=lambda span: len(changes([span])[0])))
        reading.update_period_s = None if period is None else period.period_s
        reading.resolution = resolution(np.concatenate([values for _, values in spans]))
    changed, edges_s, fit = changes(recording.spans(name, loaded=True)), _edges_s(recording), None
    if name in _MAX_WINDOW_S:
        fit = fit_window(*changed, edges_s, max_window_s=_MAX_WINDOW_S[name], max_delay_s=_MAX_DELAY_S)
    elif name == "energy_j":
        fit = fit_counter_delay(*changed, edges_s, max_delay_s=_MAX_DELAY_S)
    if fit is not None:
        reading.window_s = None if name == "energy_j" else fit.window_s
        reading.delay_s, reading.r2 = fit.delay_s, fit.r2
    return reading


def _edges_s(recording: Recording) -> Floats:
    """Return the load's edges in all stages, in order of time: a window may reach into the stage before."""
    edges_s = sorted(edge for stage in recording.about.stages.values() for edge in stage.edges_s)
    return np.array(edges_s, np.float64).reshape(-1, 2)


def _levels(recording: Recording) -> dict[str, Level]:
    stages = recording.about.stages
    steady = [name for name in (IDLE, IDLE_POLLED, CONTEXT) if name in stages]
    levels = {name: _level(recording, name, _inside(stages[name])) for name in steady}
    if STEP in stages and stages[STEP].edges_s:
        levels[LOAD] = _level(recording, STEP, _settled(stages[STEP]))
    return levels


def _level(recording: Recording, stage: str, span: tuple[float, float]) -> Level:
    counter_w = counter_mean_w(*recording.series(stage, "energy_j"), span)
    integral_w = integral_mean_w(*recording.series(stage, "power_w"), span)
    return Level(counter_w=counter_w, integral_w=integral_w, gap_ratio=_over(integral_w, counter_w))


def _wave(recording: Recording, name: str, levels: dict[str, Level]) -> Wave | None:
    stage = recording.about.stages[name]
    if stage.period_s is None:  # the load ended during this stage
        return None
    whole = (stage.edges_s[0][0], stage.edges_s[-1][0] + stage.period_s)
    span = between_updates(*recording.series(name, "energy_j"), whole)
    level = _level(recording, name, span)
    t_s, power_w = recording.series(name, "power_w")
    every = max(1, round(SAMPLE_EVERY_S / float(np.median(np.diff(t_s))))) if len(t_s) > 1 else 1
    return Wave(
        period_s=stage.period_s,
        turns=len(stage.edges_s),
        gap_ratio=level.gap_ratio,
        sampled_gap_ratio=_over(integral_mean_w(t_s[::every], power_w[::every], span), level.counter_w),
        counter_error_ratio=_over(level.counter_w, _expected_w(stage, span, levels)),
    )


def _expected_w(stage: Stage, span: tuple[float, float], levels: dict[str, Level]) -> float | None:
    """Return the mean power of a span if power followed the load between its steady levels."""
    low_w, high_w = (levels[name].integral_w if name in levels else None for name in (CONTEXT, LOAD))
    if low_w is None or high_w is None:
        return None
    start_s, end_s = (np.array([at_s]) for at_s in span)
    return low_w + (high_w - low_w) * float(load_share(np.array(stage.edges_s), start_s, end_s)[0])


def _sampler(recording: Recording) -> SamplerFigures | None:
    stage = recording.about.stages.get(SAMPLER)
    between_s = np.diff(recording.series(SAMPLER, "power_w")[0])
    if stage is None or stage.core_ratio is None or len(between_s) == 0:
        return None
    return SamplerFigures(
        samples=len(between_s) + 1,
        mean_s=float(between_s.mean()),
        p99_s=float(np.percentile(between_s, 99)),
        max_s=float(between_s.max()),
        core_ratio=stage.core_ratio,
        gap_ratio=_level(recording, SAMPLER, _settled(stage) if stage.edges_s else _inside(stage)).gap_ratio,
    )


def _inside(stage: Stage) -> tuple[float, float]:
    """Return the stage without its ends: the counter has moved before and after."""
    return stage.start_s + _EDGE_S, stage.end_s - _EDGE_S


def _settled(stage: Stage) -> tuple[float, float]:
    """Return the part of the first load in which a mean of the last second has settled, or its second half."""
    on_s, off_s = stage.edges_s[0]
    return min(on_s + _SETTLED_S, (on_s + off_s) / 2), off_s - _EDGE_S


def _over(value: float | None, reference: float | None) -> float | None:
    """Return by what ratio ``value`` is larger than ``reference``."""
    return None if value is None or not reference else value / reference - 1
