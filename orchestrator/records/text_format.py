"""Numbers, energies, durations and names of metrics as texts for people."""

import math

from orchestrator.records.metrics import BLOCK_HALF_WIDTH, BY_KEY

MISSING = "\u2013"
NOT_MEASURED = "not measured"
TOTAL_ENERGY = "total_gpu_energy_j"
"""Metric of every cell with measured energy."""

_SOURCES = {"nvml": "NVML", "replay": "replayed"}
_COMPUTED = "computed"


_NAMES = {
    "avg_gpu_power_w": "mean GPU power",
    "cap_bound_ratio": "share of busy time held down by the cap",
    "carbon_g_co2e": "carbon, CO2e",
    "cost_usd": "energy cost",
    "cpu_energy_j": "CPU energy",
    "dram_energy_j": "memory energy",
    "energy_uncertainty_j": "energy left open by the edges",
    "gpu_energy_j_per_output_token": "GPU energy per output token",
    "gpu_energy_j_per_request": "GPU energy per request",
    "gpu_energy_j_per_workflow": "GPU energy per workflow",
    "output_throughput": "output throughput",
    "power_to_cap_ratio": "mean power over the cap",
    "request_goodput": "goodput of requests",
    "slo_attainment_ratio": "share of requests within limits",
    "window_s": "length of the window",
    "workflow_goodput": "goodput of workflows",
    "workflow_slo_attainment_ratio": "share of workflows within limits",
    "ttft": "time to first token",
    "tpot": "time per output token",
    "itl": "inter-token latency",
    "e2el": "request latency",
    "workflow": "workflow time",
}


def number(value: float, *, digits: int = 3) -> str:
    """Return a number with ``digits`` significant digits, or all those before the point; a dash if not finite."""
    if not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f")
    if size >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def quantity(value: float, unit: str) -> str:
    """Return a number with its unit; 1000 ms and more in seconds."""
    if unit == "ms" and abs(value) >= 1000:
        value, unit = value / 1000, "s"
    return f"{number(value)}\u00a0{unit}" if unit else number(value)


def metric_value(key: str, value: float) -> str:
    """Return a value with the unit of its metric; energies per workflow, request or token in joules."""
    return quantity(value, unit_of(key).partition("/")[0] if "_j_per_" in key else unit_of(key))


def unit_of(key: str) -> str:
    """Return the unit of a metric."""
    return BY_KEY[key].unit


def metric_name(key: str) -> str:
    """Return a metric in words: ``median workflow time``, ``GPU energy per request``."""
    if key in _NAMES:
        return _NAMES[key]
    if key.startswith(BLOCK_HALF_WIDTH):
        return f"\u00b1 within the window: {metric_name(key.removeprefix(BLOCK_HALF_WIDTH))}"
    statistic, _, rest = key.partition("_")
    latency = rest.removesuffix("_ms")
    if latency in _NAMES and key.endswith("_ms"):
        return f"{statistic} {_NAMES[latency]}"
    return key


def share(ratio: float) -> str:
    """Return a share in percent, to a tenth: ``0.4 %``."""
    return f"{100 * ratio:.1f}\u00a0%"


def percent(new: float, old: float) -> str:
    """Return a signed relative change in percent, with a true minus sign."""
    if old == 0:
        return MISSING
    change = 100 * (new / old - 1)
    if abs(change) < 0.05:
        return "±0\u00a0%"
    digits = 0 if round(abs(change), 1) >= 10 else 1
    return f"{change:+.{digits}f}\u00a0%".replace("-", "\u2212")


def more_or_less(new: float, old: float, noun: str) -> str:
    """Return a relative change in words: ``18 % less energy``, ``the same time``."""
    signed = percent(new, old)
    if signed[0] not in "+\u2212":
        return f"the same {noun}"
    return f"{signed[1:]} {'more' if signed[0] == '+' else 'less'} {noun}"


def source_words(energy_source: str | None, collector: str | None) -> str:
    """Return the source of an energy: ``measured (NVML counter)``, ``simulated: computed …`` or ``not measured``."""
    if energy_source is None:
        return NOT_MEASURED
    if energy_source == _COMPUTED:
        return "simulated: computed, not measured"
    return f"measured ({_SOURCES.get(collector or '', collector or 'sensor')} {energy_source})"


def capital(text: str) -> str:
    """Return a text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def energy(energy_j: float) -> str:
    """Return ``532 J``, ``12.35 kJ (3.43 Wh)`` or ``4.2 MJ (1.17 kWh)``."""
    if not math.isfinite(energy_j):
        return MISSING
    if energy_j < 1e3:
        return f"{energy_j:.3g} J"
    size = f"{energy_j / 1e3:.4g} kJ" if energy_j < 1e6 else f"{energy_j / 1e6:.4g} MJ"
    return f"{size} ({energy_j / 3600:.3g} Wh)" if energy_j < 3.6e6 else f"{size} ({energy_j / 3.6e6:.3g} kWh)"


def duration(duration_s: float) -> str:
    """Return ``42 s``, ``7 min 05 s``, ``3 h 20 min`` or ``2.5 days``."""
    if not math.isfinite(duration_s):
        return MISSING
    whole_s = round(duration_s)
    if whole_s < 60:
        return f"{whole_s} s"
    if whole_s < 3600:
        return f"{whole_s // 60} min {whole_s % 60:02d} s"
    if whole_s < 2 * 86_400:
        return f"{whole_s // 3600} h {whole_s % 3600 // 60:02d} min"
    return f"{whole_s / 86_400:.1f} days"
