"""Draw one cell as a small SVG: power and output tokens over time.

The SVG is written directly, in a few ms: a sweep has hundreds of cells.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
import pyarrow as pa

from orchestrator.records.series import by_engine
from orchestrator.report import plot
from orchestrator.report.timeline import Floats, power_trace

_WIDTH, _LEFT, _RIGHT = 540, 44, 12
_TOPS, _HEIGHT = (44, 180), 96
_BINS = 240


def sketch(
    power: pa.Table,
    iterations: pa.Table | None,
    *,
    title: str,
    window_s: tuple[float, float] | None,
    cap_w: float | None,
) -> str | None:
    """Return mean and extremes of power in bins, cap dashed, window shaded; below, output tokens per second.

    None with fewer than two power samples.
    """
    trace = power_trace(power, _BINS)
    if trace is None:
        return None
    span_s = (float(trace.edges_s[0]), float(trace.edges_s[-1]))
    parts = [_text(_LEFT, 18, title, weight="bold")]
    watts = _Panel(_TOPS[0], span_s, 1.15 * max(float(trace.high_w.max()), cap_w or 0.0), "GPU power (W)")
    parts += watts.frame(window_s)
    corners_s = np.repeat(trace.edges_s, 2)[1:-1]
    low_w, mean_w, high_w = (np.repeat(values, 2) for values in (trace.low_w, trace.mean_w, trace.high_w))
    parts.append(watts.band(corners_s, low_w, high_w))
    parts.append(watts.line(corners_s, mean_w))
    if cap_w is not None:
        parts += watts.level(cap_w, f"cap {cap_w:g} W")
    times, rates = _token_rates(iterations, span_s)
    if len(times):
        tokens = _Panel(_TOPS[1], span_s, 1.1 * (float(rates.max()) or 1.0), "output (tok/s)")
        parts += [*tokens.frame(window_s), tokens.line(times, rates)]
    bottom = _TOPS[1 if len(times) else 0] + _HEIGHT
    parts += [_text(_place(t, span_s), bottom + 15, _seconds(t), anchor="middle") for t in _ticks(span_s)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{bottom + 24}" '
    style = "font-family='sans-serif' font-size='11'"
    return f"{head}{style}><rect width='100%' height='100%' fill='white'/>{''.join(parts)}</svg>"


class _Panel:
    """A panel with an axis of time, and an axis of values that starts at zero."""

    def __init__(self, top: int, span_s: tuple[float, float], most: float, name: str) -> None:
        self._top, self._span_s, self._most, self._name = top, span_s, most, name

    def frame(self, window_s: tuple[float, float] | None) -> list[str]:
        base = self._top + _HEIGHT
        parts = []
        if window_s is not None:
            left, right = (_place(t, self._span_s) for t in window_s)
            size = f"x='{left:.1f}' y='{self._top}' width='{right - left:.1f}' height='{_HEIGHT}'"
            parts.append(f"<rect {size} fill='{plot.GREEN}' fill-opacity='0.09'/>")
        parts.append(f"<path d='M{_LEFT} {self._top}V{base}H{_WIDTH - _RIGHT}' fill='none' stroke='{plot.MUTED}'/>")
        marks = (0.0, self._most / 2, self._most)
        parts += [_text(_LEFT - 5, self._height(value) + 4, f"{value:.0f}", anchor="end") for value in marks]
        return [*parts, _text(_LEFT, self._top - 5, self._name)]

    def line(self, times: Floats, values: Floats) -> str:
        return f"<polyline points='{self._points(times, values)}' fill='none' stroke='{plot.BLUE}' stroke-width='1.2'/>"

    def band(self, times: Floats, low: Floats, high: Floats) -> str:
        points = f"{self._points(times, high)} {self._points(times[::-1], low[::-1])}"
        return f"<polygon points='{points}' fill='{plot.SKY}' fill-opacity='0.35'/>"

    def level(self, value: float, name: str) -> list[str]:
        y, right = self._height(value), _WIDTH - _RIGHT
        dashes = f"stroke='{plot.VERMILLION}' stroke-dasharray='6 4'"
        return [f"<path d='M{_LEFT} {y:.1f}H{right}' {dashes}/>", _text(right, y - 4, name, anchor="end")]

    def _points(self, times: Floats, values: Floats) -> str:
        pairs = zip(times.tolist(), values.tolist(), strict=True)
        return " ".join(f"{_place(t, self._span_s):.1f},{self._height(value):.1f}" for t, value in pairs)

    def _height(self, value: float) -> float:
        return self._top + _HEIGHT * (1 - value / self._most)


def _token_rates(iterations: pa.Table | None, span_s: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return centres of equal bins and the tokens per second in them, spread evenly over each iteration."""
    if iterations is None or iterations.num_rows == 0:
        return np.empty(0), np.empty(0)
    edges = np.linspace(*span_s, _BINS + 1)
    made = sum(np.diff(_tokens_until(edges, engine)) for engine in by_engine(iterations).values())
    return (edges[1:] + edges[:-1]) / 2, made / np.diff(edges)


def _tokens_until(times_s: Floats, iterations: pa.Table) -> Floats:
    """Return the number of tokens that one engine had generated at each time."""
    starts, ends = (iterations.column(name).to_numpy() for name in ("start_s", "end_s"))
    made = np.cumsum(iterations.column("decode_tokens").to_numpy())
    times = np.column_stack([starts, ends]).ravel()
    total = np.column_stack([np.concatenate(([0], made[:-1])), made]).ravel()
    return np.asarray(np.interp(times_s, times, total), dtype=np.float64)


def _place(t_s: float, span_s: tuple[float, float]) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (t_s - span_s[0]) / (span_s[1] - span_s[0])


def _seconds(t_s: float) -> str:
    return f"{t_s:.0f} s" if t_s >= 10 else f"{abs(round(t_s, 2)):g} s"


def _ticks(span_s: tuple[float, float]) -> Sequence[float]:
    return [span_s[0] + share * (span_s[1] - span_s[0]) for share in (0.0, 0.25, 0.5, 0.75, 0.97)]


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    place = f"x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-weight='{weight}'"
    return f"<text {place} fill='{plot.INK}'>{escape(text)}</text>"
