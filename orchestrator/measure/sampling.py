"""Whether a window was sampled without a break."""

from collections.abc import Sequence

import numpy as np

from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.gpu_energy import Edges
from orchestrator.measure.reasons import because
from orchestrator.measure.samples import GpuSamples
from orchestrator.measure.thresholds import GAP_PERIODS, MAX_MISSED_RATIO
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell


def sampling_reasons(cell: Cell, gpus: Sequence[GpuSamples], events: Columns, window: Window) -> tuple[Reason, ...]:
    """Why the samples do not cover the window; empty if they do."""
    edges, most_s = (window.start_s, window.end_s), cell.protocol.max_sample_gap_s
    expected = sum(own.engine.tensor_parallel_size for own in cell.engine_cells.values())
    if len(gpus) < expected:
        detail = f"{len(gpus)} of {expected} GPUs were sampled{_told(events, window)}"
        return (because("sensor_lost", detail),)
    for gpu in gpus:
        known = gpu.t_s[~(np.isnan(gpu.power_w) & np.isnan(gpu.energy_j))]
        begins_s, ends_s = _missing(known, edges)
        if max(begins_s, ends_s) > most_s:
            where = f"begin {begins_s:.3g} s late" if begins_s > most_s else f"end {ends_s:.3g} s early"
            detail = (
                f"the samples of {gpu.device} {where} in a window of {window.length_s:.3g} s{_told(events, window)}"
            )
            return (because("sensor_lost", detail),)
    return _gap_reasons(gpus, window, most_s)


def _gap_reasons(gpus: Sequence[GpuSamples], window: Window, most_s: float) -> tuple[Reason, ...]:
    edges = (window.start_s, window.end_s)
    longest_s, missed_ratio = longest_gap_s(gpus, edges), max((_missed_s(gpu.t_s, edges) for gpu in gpus), default=0.0)
    missed_ratio = missed_ratio / window.length_s if window.length_s > 0 else 0.0
    if longest_s <= most_s and missed_ratio <= MAX_MISSED_RATIO:
        return ()
    detail = (
        f"samples are up to {longest_s:.3g} s apart, and gaps take {missed_ratio:.1%} of the window; "
        f"protocol.max_sample_gap_s is {most_s:g}, the share {MAX_MISSED_RATIO:.0%}; the sampler's machine was too busy"
    )
    return (because("sampler_gap", detail),)


def sampling_metrics(gpus: Sequence[GpuSamples], window: Window) -> dict[str, float]:
    """The longest time between two samples of a GPU."""
    longest_s = longest_gap_s(gpus, (window.start_s, window.end_s))
    return {"longest_sample_gap_s": longest_s} if longest_s > 0 else {}


def longest_gap_s(gpus: Sequence[GpuSamples], edges: Edges) -> float:
    """The longest time between successive samples of a GPU that lies in the window, in part at least. Units: s."""
    return max((float(_distances(gpu.t_s, edges).max(initial=0.0)) for gpu in gpus), default=0.0)


def _distances(t_s: Floats, edges: Edges) -> Floats:
    touching = (t_s[1:] > edges[0]) & (t_s[:-1] < edges[1])
    return np.diff(t_s)[touching]


def _missed_s(t_s: Floats, edges: Edges) -> float:
    """Time of the window in gaps: distances of several times the usual one."""
    if len(t_s) < 2:
        return 0.0
    usual_s = float(np.median(np.diff(t_s)))
    parts_s = np.clip(t_s[1:], *edges) - np.clip(t_s[:-1], *edges)
    return float(parts_s[np.diff(t_s) > GAP_PERIODS * usual_s].sum())


def _missing(t_s: Floats, edges: Edges) -> Edges:
    """How much of the window lies before the first sample, and after the last. Units: s."""
    if not len(t_s):
        return edges[1] - edges[0], 0.0
    return max(0.0, float(t_s[0]) - edges[0]), max(0.0, edges[1] - float(t_s[-1]))


def _told(events: Columns, window: Window) -> str:
    """What the sampler said of the sensors it lost, the first of it."""
    lost = [row for row in events.rows() if row["kind"] in ("lost", "error") and row["t_s"] <= window.end_s]
    return f": {lost[0]['detail']}" if lost else ""
