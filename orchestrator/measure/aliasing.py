"""Aliasing with the power sensor: work that repeats so near the sensor's period that samples are biased.

A sensor that averages a quarter of each period always sees a load of nearly the same period at the same phase, or
drifts over it so slowly that a window holds only a part of a drift. Two signs, each sufficient:

- *from the work*: the times of iterations give the load's activity. A line of its spectrum near a multiple
  of the sensor's rate moves the mean power by at most its height, less what the sensor's averaging removes.
- *from the samples*: second by second, counter and integral drift apart and come back, though they agree over the
  whole window.
"""

from collections.abc import Sequence

import numpy as np

from orchestrator.measure.columns import Columns, Floats, running_sum
from orchestrator.measure.gpu_energy import GpuEnergy
from orchestrator.measure.reasons import because
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason

_MAX_ALIASING_RATIO = 0.1
"""Largest possible change of mean power by activity near the sensor's period, computed from the times of iterations."""

_MAX_GAP_SPREAD_RATIO = 0.25
"""Largest difference of counter and integral in single seconds: bursts cause less, aliasing causes more."""

_AVERAGED_SHARE = 0.25
"""Share of each period that the sensors of A100 and H100 average (arXiv 2312.02741)."""

_NEAR, _WIDEST = 0.05, 0.1
"""A line is near a multiple of the sensor's rate if it is within the first share of the multiple and the second share
of the rate: outside, a beat is over in ten periods, and a window has many."""

_BINS_PER_PERIOD = 40
_MAX_BINS = 2**21
_DECODE_SHARE = 0.6
"""Approximate ratio of the power above idle of an iteration that only decodes to that of one with prompt tokens."""

_LINE = 6.0
"""A height this many times the root mean square of a spectrum is a line, not chance."""

_BLOCK_S = 1.0


def aliasing_metrics(
    gpus: Sequence[GpuEnergy], iterations: Columns, window: Window, metrics: dict[str, float]
) -> dict[str, float]:
    """Return ``sensor_aliasing_ratio`` and ``energy_gap_spread_ratio``; empty if power was not sampled."""
    sampled = [gpu for gpu in gpus if gpu.sampled and gpu.integral is not None]
    if not sampled or window.length_s == 0:
        return {}
    ratios = {}
    if len(iterations):
        period_s = max(gpu.integral.series.update_period_s for gpu in sampled if gpu.integral is not None)
        above_idle = 1 - min(1.0, metrics.get("idle_gpu_power_w", 0.0) / max(metrics.get("avg_gpu_power_w", 0.0), 1e-9))
        ratios["sensor_aliasing_ratio"] = above_idle * aliased_ratio(iterations, window, period_s)
    spreads = [spread for gpu in sampled if (spread := _gap_spread(gpu, window)) is not None]
    if spreads:
        ratios["energy_gap_spread_ratio"] = max(spreads)
    return ratios


def aliasing_reasons(metrics: dict[str, float], *, believed: bool = True) -> tuple[Reason, ...]:
    """Return why the samples do not show the mean power; empty if they do.

    The difference of counter and integral is not used if the samples are not ``believed``.
    """
    aliased, spread = (metrics.get(key, 0.0) for key in ("sensor_aliasing_ratio", "energy_gap_spread_ratio"))
    remedy = "another load or batch repeats at another pace"
    if aliased > _MAX_ALIASING_RATIO:
        detail = f"iterations repeat near the sensor's period or a part of it: mean power may be off by {aliased:.0%}"
    elif believed and spread > _MAX_GAP_SPREAD_RATIO:
        detail = f"second by second, integral and counter are up to {spread:.0%} apart: power beats with the sensor"
    else:
        return ()
    return (because("power_near_sensor_period", f"{detail}; {remedy}"),)


def aliased_ratio(iterations: Columns, window: Window, period_s: float) -> float:
    """Return the height of the highest line of activity near a multiple of the sensor's rate, over mean activity."""
    n_bins = min(int(window.length_s / period_s * _BINS_PER_PERIOD), _MAX_BINS)
    if n_bins < _BINS_PER_PERIOD:
        return 0.0
    activity = _activity(iterations, np.linspace(window.start_s, window.end_s, n_bins + 1))
    mean = float(activity.mean())
    if mean <= 0:
        return 0.0
    # The Hann window changes a line's height by at most 15 % at any frequency, and keeps slow drifts out of the bands.
    heights = np.abs(np.fft.rfft((activity - mean) * np.hanning(n_bins))) * 4 / n_bins
    line = heights > _LINE * np.sqrt(np.mean(heights**2))
    multiples = np.fft.rfftfreq(n_bins, window.length_s / n_bins) * period_s
    nearest = np.rint(multiples)
    near = (nearest >= 1) & (np.abs(multiples - nearest) <= np.minimum(_NEAR * nearest, _WIDEST))
    gain = np.abs(np.sinc(multiples * _AVERAGED_SHARE))
    return float((heights * gain * (near & line)).max(initial=0.0)) / mean


def _activity(iterations: Columns, edges_s: Floats) -> Floats:
    """Return the mean activity between edges: 0 between iterations, less than 1 in decode; one fewer than edges."""
    total = np.zeros(len(edges_s))
    for engine in iterations.by_engine():
        start_s, end_s = engine.floats("start_s"), engine.floats("end_s")
        weight = np.where(engine.floats("prefill_tokens") > 0, 1.0, _DECODE_SHARE)
        done = running_sum(weight * (end_s - start_s))
        knots_s = np.stack([start_s, end_s], axis=1).ravel()
        values = np.stack([done[:-1], done[1:]], axis=1).ravel()
        total += np.interp(edges_s, knots_s, values)
    return np.asarray(np.diff(total) / np.diff(edges_s), dtype=np.float64)


def _gap_spread(gpu: GpuEnergy, window: Window) -> float | None:
    """Return the 95th percentile over seconds of the gap of integral and counter, less its mean, over mean energy."""
    edges_s = np.arange(window.start_s, window.end_s, _BLOCK_S)
    if gpu.counter is None or len(edges_s) < 4:
        return None
    pairs = [
        (gpu.integral_j(edges), gpu.counter.delta_j(edges))
        for edges in zip(edges_s[:-1].tolist(), edges_s[1:].tolist(), strict=True)
    ]
    integral_j, counter_j = np.asarray(pairs).T
    mean_j = float(counter_j.mean())
    if np.isnan(mean_j) or np.isnan(integral_j).any() or mean_j <= 0:
        return None
    gap = (integral_j - counter_j) / mean_j
    return float(np.percentile(np.abs(gap - gap.mean()), 95))
