"""Whether what a GPU did repeats so near its sensor's period that samples do not tell its mean power.

A sensor that averages a quarter of each period sees a load of nearly the same period always at the same phase, or
sweeps over it so slowly that a window holds only a part of a sweep. Two signs, each enough:

- *from the work*: the times of iterations give the load's activity. A line of its spectrum near a multiple
  of the sensor's rate moves the mean power by at most its height, less what the sensor's averaging takes away.
- *from the samples*: second by second, counter and integral drift apart and come back, though they agree on the whole.
"""

from collections.abc import Sequence

import numpy as np

from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.gpu_energy import GpuEnergy, update_period_s
from orchestrator.measure.reasons import because
from orchestrator.measure.thresholds import MAX_ALIASING_RATIO, MAX_GAP_SPREAD_RATIO
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason

_SEEN_SHARE = 0.25
"""Of each period, what A100 and H100 average (arXiv 2312.02741)."""

_NEAR, _WIDEST = 0.05, 0.1
"""Within this share of a multiple of the sensor's rate, and no further from it than this share of the rate itself:
there a beat is over in ten periods, and a window has many."""

_BINS_A_PERIOD = 40
_MAX_BINS = 2**21
_DECODE_SHARE = 0.6
"""Power, above idle, of an iteration that only decodes over one with prompt tokens: a rough ratio will do."""

_LINE = 6.0
"""What stands out so much from the root mean square of a spectrum is a line, not chance."""

_BLOCK_S = 1.0


def aliasing_metrics(
    gpus: Sequence[GpuEnergy], iterations: Columns, window: Window, metrics: dict[str, float]
) -> dict[str, float]:
    """``sensor_aliasing_ratio`` and ``energy_gap_spread_ratio``; empty where power was not sampled."""
    sampled = [gpu for gpu in gpus if gpu.sampled and gpu.integral is not None]
    if not sampled or window.length_s == 0:
        return {}
    found = {}
    if len(iterations):
        period_s = max(_period_s(gpu) for gpu in sampled)
        above_idle = 1 - min(1.0, metrics.get("idle_gpu_power_w", 0.0) / max(metrics.get("avg_gpu_power_w", 0.0), 1e-9))
        found["sensor_aliasing_ratio"] = above_idle * aliased_ratio(iterations, window, period_s)
    spreads = [spread for gpu in sampled if (spread := _gap_spread(gpu, window)) is not None]
    if spreads:
        found["energy_gap_spread_ratio"] = max(spreads)
    return found


def aliasing_reasons(metrics: dict[str, float], *, believed: bool = True) -> tuple[Reason, ...]:
    """Why the samples do not tell the mean power; empty if they do. Those not ``believed`` beat with nothing."""
    aliased, spread = (metrics.get(key, 0.0) for key in ("sensor_aliasing_ratio", "energy_gap_spread_ratio"))
    mend = "another load or batch repeats at another pace"
    if aliased > MAX_ALIASING_RATIO:
        detail = f"iterations repeat near the sensor's period or a part of it: mean power may be off by {aliased:.0%}"
    elif believed and spread > MAX_GAP_SPREAD_RATIO:
        detail = f"second by second, integral and counter are up to {spread:.0%} apart: power beats with the sensor"
    else:
        return ()
    return (because("power_near_sensor_period", f"{detail}; {mend}"),)


def aliased_ratio(iterations: Columns, window: Window, period_s: float) -> float:
    """The height of the highest line of activity near a multiple of the sensor's rate, over mean activity."""
    n_bins = min(int(window.length_s / period_s * _BINS_A_PERIOD), _MAX_BINS)
    if n_bins < _BINS_A_PERIOD:
        return 0.0
    activity = _activity(iterations, np.linspace(window.start_s, window.end_s, n_bins + 1))
    mean = float(activity.mean())
    if mean <= 0:
        return 0.0
    # The Hann window keeps a line's height within 15 % wherever it falls, and slow drifts out of the bands.
    heights = np.abs(np.fft.rfft((activity - mean) * np.hanning(n_bins))) * 4 / n_bins
    line = heights > _LINE * np.sqrt(np.mean(heights**2))
    multiples = np.fft.rfftfreq(n_bins, window.length_s / n_bins) * period_s
    nearest = np.rint(multiples)
    near = (nearest >= 1) & (np.abs(multiples - nearest) <= np.minimum(_NEAR * nearest, _WIDEST))
    seen = np.abs(np.sinc(multiples * _SEEN_SHARE))
    return float((heights * seen * (near & line)).max(initial=0.0)) / mean


def _activity(iterations: Columns, edges_s: Floats) -> Floats:
    """Mean activity between edges: 0 between iterations, less while they only decode; one fewer than edges."""
    total = np.zeros(len(edges_s))
    for engine in iterations.by_engine():
        start_s, end_s = engine.floats("start_s"), engine.floats("end_s")
        weight = np.where(engine.floats("prefill_tokens") > 0, 1.0, _DECODE_SHARE)
        done = np.concatenate([[0.0], np.cumsum(weight * (end_s - start_s))])
        knots_s = np.stack([start_s, end_s], axis=1).ravel()
        values = np.stack([done[:-1], done[1:]], axis=1).ravel()
        total += np.interp(edges_s, knots_s, values)
    return np.asarray(np.diff(total) / np.diff(edges_s), dtype=np.float64)


def _period_s(gpu: GpuEnergy) -> float:
    assert gpu.integral is not None
    return update_period_s(gpu.integral.t_s, gpu.integral.power_w)


def _gap_spread(gpu: GpuEnergy, window: Window) -> float | None:
    """95th percentile over seconds of how far integral and counter are apart from what they are on the whole."""
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
    apart = (integral_j - counter_j) / mean_j
    return float(np.percentile(np.abs(apart - apart.mean()), 95))
