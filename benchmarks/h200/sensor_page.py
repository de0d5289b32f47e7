"""The section of docs/h200.md on the power sensor, from ``sensor.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Found = Mapping[str, Any]

_READINGS = {
    "instant_mw": "`POWER_INSTANT`",
    "average_mw": "`POWER_AVERAGE`",
    "plain_mw": "`nvmlDeviceGetPowerUsage`",
    "energy_mj": "`nvmlDeviceGetTotalEnergyConsumption`",
    "sm_clock_mhz": "SM clock",
    "temperature_c": "temperature",
}
_LEVELS = {
    "idle_slow": "nothing on the GPU, read every 50 ms",
    "idle": "the same, read a thousand times a second",
    "context": "a CUDA context, at rest",
    "load": "bf16 matrix products",
}
_SAMPLERS = {"sampler_thread": "in a thread, as in a lane's collector", "sampler_process": "in a process of its own"}
_UNITS = {"mw": "mW", "mj": "mJ", "mhz": "MHz", "c": "°C"}
_NONE = ""


def sensor_section(kept: Found) -> str:
    """The section as Markdown, of what `sensor_recording.Recording.write` kept."""
    parts = (_head(kept), _readings(kept), _steps(kept["found"]), _levels(kept["found"]), _waves(kept["found"]))
    return "\n\n".join(part for part in (*parts, _samplers(kept["found"]), _missing(kept)) if part)


def _head(kept: Found) -> str:
    facts, load = kept["facts"], kept["load"]
    product = f" of {load['size']} rows at {load['tflops']:.0f} TFLOP/s" if load.get("tflops") else ""
    gpu = f"{_text(facts['name'])}, driver {_text(facts['driver'])}, VBIOS {_text(facts['vbios'])}"
    return f"""`python -m benchmarks.h200.sensor`, {facts["date"]}: {gpu}, power limit
{_watts(facts["limit_mw"])} W; nothing was set.
The load is a process of its own that multiplies random bf16 matrices{product}; when it was on and off is kept beside
every reading in `benchmarks/data/h200/`. A reading's window and delay are those of the moving mean of that load that
explains it best (R² in brackets)."""


def _readings(kept: Found) -> str:
    rows = []
    for name, words in _READINGS.items():
        renewal = _part(kept["found"]["renewal"], name)
        is_counter = name == "energy_mj"
        window = kept["found"]["counter"] if is_counter else _part(kept["found"]["windows"], name)
        cells = (
            words,
            _cost(kept["queries"].get(name, {})),
            _renewed(renewal),
            _number(renewal, "resolution", 1, ".0f", f" {_UNITS[name.rpartition('_')[2]]}"),
            _NONE if is_counter else _number(window, "window_s", 1e3, ".0f"),
            _delay(window),
        )
        rows.append(f"| {' | '.join(cells)} |")
    head = "| reading | a call, µs (p99) | renewed every, ms (p10 to p90) | steps of | window, ms | delay, ms |"
    return "\n\n".join(filter(None, (_table(head, rows), _share(kept["found"]))))


def _share(found: Found) -> str:
    """Of the time, that the sensor looks at."""
    period_s = _part(_part(found["renewal"], "instant_mw"), "median_s")
    window_s = _part(_part(found["windows"], "instant_mw"), "window_s")
    if period_s is None or window_s is None:
        return ""
    return (
        f"`POWER_INSTANT` looks at {min(1.0, window_s / period_s):.0%} of the time, {window_s * 1e3:.0f} of every "
        f"{period_s * 1e3:.0f} ms; published for A100 and H100:\n25 of every 100 ms (arXiv 2312.02741)."
    )


def _steps(found: Found) -> str:
    """In a sentence a reading."""
    lines = []
    for name, words in list(_READINGS.items())[:3]:
        told = []
        for way in ("up", "down"):
            every = [
                each for key, one in _items(found["steps"]) if key.endswith(f"{way} {name}") for each in one if each
            ]
            if name != "instant_mw":  # a mean of a second needs a level that lasts
                every = [each for each in _part(found["steps"], f"step {way} {name}") or () if each]
            if every:
                t10_ms, t90_ms = (np.array([each[part] for each in every]) * 1e3 for part in ("t10_s", "t90_s"))
                told.append(
                    f"{way} 10 % after {_span(t10_ms)} ms and 90 % after {_span(t90_ms)} ms ({_edges(len(every))})"
                )
        if told:
            lines.append(f"- {words}: {'; '.join(told)}")
    return "\n".join(["Steps of the load, from its edge:", "", *lines]) if lines else ""


def _levels(found: Found) -> str:
    rows = [
        f"| {words} | {_watts_of(level, 'counter_mw')} | {_watts_of(level, 'instant_mw')} | {_percent(level, 'gap')} | "
        f"{_number(level, 'sm_clock_mhz', 1, '.0f')} | {_number(level, 'temperature_c', 1, '.0f')} |"
        for name, words in _LEVELS.items()
        if (level := _part(found["levels"], name)) is not None
    ]
    after = [
        f"| {each['from_s']:g} to {each['to_s']:g} s after it | {_watts_of(each, 'counter_mw')} | "
        f"{_watts_of(each, 'instant_mw')} | {_percent(each, 'gap')} | {_number(each, 'sm_clock_mhz', 1, '.0f')} | "
        f"{_number(each, 'temperature_c', 1, '.0f')} |"
        for each in _list(found["decay"])
    ]
    head = "| state | by the counter, W | integral of `POWER_INSTANT`, W | gap | SM clock, MHz | temperature, °C |"
    return _table(head, [*rows, *after])


def _waves(found: Found) -> str:
    rows = [
        f"| {each['period_s'] * 1e3:.0f} | {each['turns']} | {_percent(each, 'counter_over_levels')} | "
        f"{_percent(each, 'gap')} | {_percent(each, 'gap_at_50ms')} | "
        f"{_number(each, 'swing_share', 100, '.0f', ' %')} |"
        for each in _list(found["waves"])
    ]
    if not rows:
        return ""
    head = "| period, ms | turns | counter | integral over it | of a reading each 50 ms | of the swing seen |"
    return f"""Square waves, on for half of each period: the counter over what the levels of rest and load add up to,
less one; the integral of `POWER_INSTANT` over the counter, less one; and the share of the swing between rest and load
that it shows. A sensor that averaged all the time would show none of a fast wave and have no gap; one that looks at a
part of the time shows some of it, and is off where a wave nearly keeps step with it.

{_table(head, rows)}"""


def _samplers(found: Found) -> str:
    rows = [
        f"| {words} | {told['samples']} | {told['mean_s'] * 1e3:.2f} | {told['p99_s'] * 1e3:.2f} | "
        f"{told['worst_s'] * 1e3:.2f} | {told['core_share']:.2%} | {_percent(told, 'gap')} |"
        for name, words in _SAMPLERS.items()
        if (told := _part(found["samplers"], name)) is not None
    ]
    head = "| our sampler, every 50 ms under load | samples | mean period, ms | p99 | longest | of a core | gap |"
    return _table(head, rows) if rows else ""


def _missing(kept: Found) -> str:
    """What the driver did not tell, what was not run and what could not be computed."""
    told = [f"{name} ({each['error']})" for name, each in kept["queries"].items() if "error" in each]
    told += [f"{name} ({each['error']})" for name, each in kept["facts"].items() if _is_error(each)]
    told += [f"stage {name} ({each.get('skipped') or each.get('error')})" for name, each in _failed(kept["stages"])]
    told += [f"finding {name} ({each['error']})" for name, each in kept["found"].items() if _is_error(each)]
    return f"Missing: {', '.join(told)}." if told else ""


def _failed(stages: Found) -> list[tuple[str, Any]]:
    return [(name, each) for name, each in stages.items() if "start_s" not in each]


def _is_error(found: Any) -> bool:
    return isinstance(found, dict) and "error" in found


def _part(found: Any, name: str) -> Any:
    """None where the finding or this part of it is missing."""
    return None if found is None or _is_error(found) else found.get(name)


def _items(found: Any) -> list[tuple[str, Any]]:
    return [] if found is None or _is_error(found) else list(found.items())


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _table(head: str, rows: Sequence[str]) -> str:
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])


def _number(found: Any, name: str, scale: float, form: str, unit: str = "") -> str:
    value = _part(found, name)
    return _NONE if value is None else f"{value * scale:{form}}{unit}"


def _watts_of(found: Any, name: str) -> str:
    return _number(found, name, 1e-3, ".1f")


def _percent(found: Any, name: str) -> str:
    return _number(found, name, 100, "+.2f", " %")


def _renewed(renewal: Any) -> str:
    if _part(renewal, "median_s") is None:
        return _NONE
    if renewal["median_s"] < 2 * renewal["polled_s"]:  # it changes from one call to the next, however fast those come
        return f"at most {renewal['polled_s'] * 1e3:.1f}"
    return f"{renewal['median_s'] * 1e3:.1f} ({renewal['p10_s'] * 1e3:.1f} to {renewal['p90_s'] * 1e3:.1f})"


def _delay(window: Any) -> str:
    if _part(window, "delay_s") is None:
        return _NONE
    return f"{window['delay_s'] * 1e3:.0f} ({window['r2']:.4f})"


def _cost(asked: Found) -> str:
    if "median_us" not in asked:
        return str(asked.get("error", _NONE))
    return f"{asked['median_us']:.0f} ({asked['p99_us']:.0f})"


def _edges(n: int) -> str:
    return "1 edge" if n == 1 else f"{n} edges"


def _span(values: Any) -> str:
    low, high = f"{values.min():.0f}", f"{values.max():.0f}"
    return low if low == high else f"{low} to {high}"


def _watts(milliwatts: Any) -> str:
    return _NONE if _is_error(milliwatts) else f"{milliwatts / 1e3:.0f}"


def _text(fact: Any) -> str:
    return "unknown" if _is_error(fact) else str(fact)
