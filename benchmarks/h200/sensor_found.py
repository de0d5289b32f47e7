"""The findings of a recording of a power sensor: what `sensor_analysis` says of its stages. Missing is None."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.h200 import sensor_analysis as analysis
from benchmarks.h200.sensor_recording import Array, Recording
from collectors.capabilities import update_period

READINGS = ("instant_mw", "average_mw", "plain_mw", "energy_mj", "sm_clock_mhz", "temperature_c")
_POWERS = ("instant_mw", "average_mw", "plain_mw")
_LONGEST_WINDOW_S = {"instant_mw": 0.25, "average_mw": 1.5, "plain_mw": 1.5}
_LONGEST_DELAY_S = 0.3
_SETTLED_S = 2.0
_EDGE_S = 0.2
_PRODUCT_EVERY_S = 0.05
_DECAY_S = ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 6.0))

Found = dict[str, Any]


def found_in(recording: Recording) -> Found:
    """All findings; what fails is told in its place, for the readings are kept and it can be computed anew."""
    parts: dict[str, Callable[[Recording], Any]] = {
        "renewal": _renewals,
        "levels": _levels,
        "decay": _decay,
        "windows": _windows,
        "counter": _counter,
        "steps": _steps,
        "waves": _waves,
        "samplers": _samplers,
    }
    return {name: _told(part, recording) for name, part in parts.items()}


def _told(part: Callable[[Recording], Any], recording: Recording) -> Any:
    try:
        return part(recording)
    except Exception as error:  # a supervisor: one finding must not cost the others, on a machine that goes away
        return {"error": f"{type(error).__name__}: {error}"}


def _renewals(recording: Recording) -> Found:
    """Of each reading, in the stage where it changed most; the product's own estimate of the period beside it."""
    found: Found = {}
    for query in READINGS:
        spans = recording.spans(_with_load(recording), query)
        if not spans:
            found[query] = None
            continue
        liveliest = max(spans, key=lambda each: len(analysis.changes_of(*each)[0]))
        told = analysis.renewal(*liveliest)
        product = update_period(*liveliest) if query in _POWERS else None
        found[query] = {
            **({} if told is None else asdict(told)),
            "product_period_s": None if product is None else product.period_s,
            "resolution": analysis.resolution(np.concatenate([values for _, values in spans])),
            "readings_per_s": len(liveliest[0]) / float(liveliest[0][-1] - liveliest[0][0]),
        }
    return found


def _levels(recording: Recording) -> Found:
    """Mean power where nothing changes: by the integral of each reading and by the counter."""
    at_rest = ("idle_slow", "idle", "context")
    spans = {name: _inside(recording, name) for name in at_rest if _was_run(recording, name)}
    if _was_run(recording, "step"):
        on_s, off_s = _edges(recording, "step")[0]
        spans["load"] = (min(on_s + _SETTLED_S, (on_s + off_s) / 2), off_s - _EDGE_S)
    return {name: _level(recording, "step" if name == "load" else name, *span) for name, span in spans.items()}


def _level(recording: Recording, stage: str, start_s: float, end_s: float) -> Found:
    found: Found = {"of_s": end_s - start_s}
    for query in _POWERS:
        found[query] = analysis.integral_mean(*recording.series(stage, query), start_s, end_s)
    found["counter_mw"] = analysis.counter_mean(*recording.series(stage, "energy_mj"), start_s, end_s)
    found["gap"] = _ratio(found["instant_mw"], found["counter_mw"])
    for query in ("sm_clock_mhz", "temperature_c"):
        found[query] = analysis.integral_mean(*recording.series(stage, query), start_s, end_s)
    return found


def _decay(recording: Recording) -> list[Found]:
    """Mean power after the load went off, in spans."""
    if not _was_run(recording, "step"):
        return []
    off_s = _edges(recording, "step")[-1, 1]
    end_s = recording.stages["step"]["end_s"]
    spans = [(first_s, last_s) for first_s, last_s in _DECAY_S if off_s + last_s < end_s]
    return [{"from_s": a, "to_s": b, **_level(recording, "step", off_s + a, off_s + b)} for a, b in spans]


def _windows(recording: Recording) -> Found:
    """Averaging window and delay of each reading of power, from all stages with edges that were polled."""
    edges_s = _all_edges(recording)
    found: Found = {}
    for query in _POWERS:
        told = analysis.averaging_window(
            *analysis.changes_in(recording.spans(_with_load(recording), query)),
            edges_s,
            longest_s=_LONGEST_WINDOW_S[query],
            longest_delay_s=_LONGEST_DELAY_S,
        )
        found[query] = None if told is None else asdict(told)
    return found


def _counter(recording: Recording) -> Found | None:
    times_s, counter_mj = analysis.changes_in(recording.spans(_with_load(recording), "energy_mj"))
    told = analysis.counter_delay(times_s, counter_mj, _all_edges(recording), longest_s=_LONGEST_DELAY_S)
    return None if told is None else {"falls": int((np.diff(counter_mj) < 0).sum()), **asdict(told)}


def _steps(recording: Recording) -> Found:
    """Crossings after every edge of the step and of the slowest wave, up and down."""
    found: Found = {}
    for stage in [name for name in ("step", _slowest(recording)) if name and _was_run(recording, name)]:
        flat_s = _edges(recording, stage).ravel()
        ends_s = np.append(flat_s[1:], recording.stages[stage]["end_s"])
        starts_s = np.insert(flat_s[:-1], 0, recording.stages[stage]["start_s"])
        for query in _POWERS:
            series = recording.series(stage, query)
            for name, first in (("up", 0), ("down", 1)):
                spans = list(zip(flat_s, starts_s, ends_s, strict=True))[first::2]
                told = [
                    analysis.step_response(*series, edge_s, max(start_s, edge_s - 0.5), end_s - 0.02)
                    for edge_s, start_s, end_s in spans
                ]
                found[f"{stage} {name} {query}"] = [None if each is None else asdict(each) for each in told]
    return found


def _waves(recording: Recording) -> list[Found]:
    """Over whole turns of each wave: the integral against the counter, and both against the levels of rest and load."""
    levels = _levels(recording)
    names = [name for name in recording.stages if name.startswith("wave_") and _was_run(recording, name)]
    return [_of_wave(recording, name, levels) for name in sorted(names, key=lambda each: _period_s(recording, each))]


def _of_wave(recording: Recording, name: str, levels: Found) -> Found:
    edges_s, period_s = _edges(recording, name), _period_s(recording, name)
    turns_s = (float(edges_s[0, 0]), float(edges_s[-1, 0]) + period_s)
    counter = recording.series(name, "energy_mj")
    span = analysis.between_changes(*counter, *turns_s) or turns_s
    times_s, power_mw = recording.series(name, "instant_mw")
    seen = power_mw[(times_s >= turns_s[0] + _LONGEST_DELAY_S) & (times_s <= turns_s[1])]
    every = max(1, round(_PRODUCT_EVERY_S / float(np.median(np.diff(times_s))))) if len(times_s) > 1 else 1
    counter_mw = analysis.counter_mean(*counter, *span)
    integral_mw = analysis.integral_mean(times_s, power_mw, *span)
    sampled_mw = analysis.integral_mean(times_s[::every], power_mw[::every], *span)
    duty = analysis.on_share(edges_s, *span)
    rest_mw, load_mw = (levels.get(each, {}).get("instant_mw") for each in ("context", "load"))
    whole_mw = None if rest_mw is None or load_mw is None else load_mw - rest_mw
    return {
        "period_s": period_s,
        "turns": len(edges_s),
        "duty": duty,
        "counter_over_levels": None if whole_mw is None else _ratio(counter_mw, rest_mw + duty * whole_mw),
        "counter_mw": counter_mw,
        "integral_mw": integral_mw,
        "gap": _ratio(integral_mw, counter_mw),
        "gap_at_50ms": _ratio(sampled_mw, counter_mw),
        "swing_share": _over(analysis.swing(seen), whole_mw),
    }


def _samplers(recording: Recording) -> Found:
    """Steadiness and cost of the product's sampler, and the gap of its integral against its counter."""
    found: Found = {}
    for name in ("sampler_thread", "sampler_process"):
        if not _was_run(recording, name):
            continue
        stage = recording.stages[name]
        times_s, power_mw = recording.series(name, "instant_mw")
        between_s = np.diff(times_s)
        on_s, off_s = _edges(recording, name)[0]
        span = (min(on_s + 1.0, (on_s + off_s) / 2), off_s - _EDGE_S)
        counter_mw = analysis.counter_mean(*recording.series(name, "energy_mj"), *span)
        found[name] = {
            "samples": len(times_s),
            "mean_s": float(between_s.mean()),
            "p99_s": float(np.percentile(between_s, 99)),
            "worst_s": float(between_s.max()),
            "core_share": stage["cpu_s"] / stage["of_s"],
            "counter_mw": counter_mw,
            "gap": _ratio(analysis.integral_mean(times_s, power_mw, *span), counter_mw),
        }
    return found


def _with_load(recording: Recording) -> list[str]:
    """Stages that were polled while a load went on and off."""
    return [
        name
        for name, stage in recording.stages.items()
        if "on_s" in stage and (name == "step" or name.startswith("wave"))
    ]


def _all_edges(recording: Recording) -> Array:
    """Of every stage, those of the samplers too: in the order of time."""
    edges_s = [edge for stage in recording.stages.values() for edge in stage.get("edges_s", ())]
    return np.array(sorted(edges_s), float).reshape(-1, 2)


def _edges(recording: Recording, stage: str) -> Array:
    return np.array(recording.stages[stage]["edges_s"], float)


def _inside(recording: Recording, stage: str) -> tuple[float, float]:
    """A little less than the stage, so that a counter has moved before and after."""
    told = recording.stages[stage]
    return told["start_s"] + _EDGE_S, told["end_s"] - _EDGE_S


def _was_run(recording: Recording, stage: str) -> bool:
    return "start_s" in recording.stages.get(stage, {})


def _period_s(recording: Recording, stage: str) -> float:
    return float(recording.stages[stage]["on_s"] + recording.stages[stage]["off_s"])


def _slowest(recording: Recording) -> str | None:
    waves = [name for name in _with_load(recording) if name != "step"]
    return max(waves, key=lambda name: _period_s(recording, name), default=None)


def _over(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    """How much more ours is than theirs."""
    share = _over(ours, theirs)
    return None if share is None else share - 1
