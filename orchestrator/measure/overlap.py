"""Time intervals against a window: overlaps and gaps."""

import numpy as np

from orchestrator.measure.columns import Floats


def overlap_ratio(start_s: Floats, end_s: Floats, window: tuple[float, float]) -> Floats:
    """Share of each interval that lies in the window; an instant counts whole if it is inside. Shape (n,)."""
    length_s = end_s - start_s
    inside_s = np.minimum(end_s, window[1]) - np.maximum(start_s, window[0])
    instant = (start_s >= window[0]) & (start_s <= window[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(length_s > 0, np.clip(inside_s, 0, None) / length_s, instant)


def done_by(start_s: Floats, end_s: Floats, when_s: Floats) -> Floats:
    """Share of each interval that is over at each of some times; shape (times, n)."""
    length_s = np.maximum(end_s - start_s, np.finfo(np.float64).tiny)
    shares: Floats = np.clip((when_s[:, None] - start_s) / length_s, 0.0, 1.0)
    return shares


def gaps(start_s: Floats, end_s: Floats, window: tuple[float, float]) -> list[tuple[float, float]]:
    """The parts of the window that no interval covers, in order."""
    found: list[tuple[float, float]] = []
    reached_s = window[0]
    for index in np.argsort(start_s, kind="stable"):
        begin_s = min(float(start_s[index]), window[1])
        if begin_s > reached_s:
            found.append((reached_s, begin_s))
        reached_s = max(reached_s, float(end_s[index]))
    if reached_s < window[1]:
        found.append((reached_s, window[1]))
    return found
