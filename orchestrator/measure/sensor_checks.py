"""Checks of what sensors recorded in a window: gaps, counters and power that are wrong, GPUs shared with others."""

from collections.abc import Sequence

import numpy as np

from orchestrator.measure.columns import Columns, Floats, GpuSamples
from orchestrator.measure.gpu_energy import GpuEnergy
from orchestrator.measure.reasons import because
from orchestrator.measure.sensor_series import Edges
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec

_MAX_MISSED_RATIO = 0.05
"""Largest share of the window that gaps between samples may take."""

_GAP_PERIODS = 3
"""Samples that are further apart than this many times their usual distance have a gap between them."""

_MAX_UNCHANGED_S = 2.0
"""A GPU's counter changes every 20 to 100 ms: one that does not change for this long is stuck."""

_MAX_ODD_POWER_RATIO = 0.01
"""Largest share of the window that samples of implausible power may take."""

_MIN_POWER_W = 2.0
"""No GPU that serves a model draws so little: the reading is wrong."""

_MAX_POWER_TO_BOARD = 1.5
"""Largest plausible power of a board, over its largest possible limit.

A limit takes tens of milliseconds to take effect, so power may exceed a low limit by any factor; only the limit of the
board bounds it. Cards may draw 1.6 times their rating for 10 ms and 1.2 times for 100 ms (Intel, ATX 3.0 design guide
336521, power excursions after PCIe CEM 5.0); interpolated over the logarithm of time that is 1.44 for the 25 ms of a
sample.
"""


def sampling_reasons(cell: Cell, gpus: Sequence[GpuSamples], events: Columns, window: Window) -> tuple[Reason, ...]:
    """Return why the samples do not cover the window; empty if they do."""
    edges, most_s = window.edges, cell.protocol.max_sample_gap_s
    expected = sum(own.engine.tensor_parallel_size for own in cell.engine_cells.values())
    if len(gpus) < expected:
        detail = f"{len(gpus)} of {expected} GPUs were sampled{_first_error(events, window)}"
        return (because("sensor_lost", detail),)
    for gpu in gpus:
        known_s = gpu.t_s[~(np.isnan(gpu.power_w) & np.isnan(gpu.energy_j))]
        begins_s, ends_s = _missing(known_s, edges)
        if max(begins_s, ends_s) > most_s:
            where = f"begin {begins_s:.3g} s late" if begins_s > most_s else f"end {ends_s:.3g} s early"
            error = _first_error(events, window)
            detail = f"the samples of {gpu.device} {where} in a window of {window.length_s:.3g} s{error}"
            return (because("sensor_lost", detail),)
    return _gap_reasons(gpus, window, most_s)


def _gap_reasons(gpus: Sequence[GpuSamples], window: Window, most_s: float) -> tuple[Reason, ...]:
    edges = window.edges
    longest_s, missed_ratio = _longest_gap_s(gpus, edges), max((_missed_s(gpu.t_s, edges) for gpu in gpus), default=0.0)
    missed_ratio = missed_ratio / window.length_s if window.length_s > 0 else 0.0
    if longest_s <= most_s and missed_ratio <= _MAX_MISSED_RATIO:
        return ()
    detail = (
        f"samples are up to {longest_s:.3g} s apart, and gaps take {missed_ratio:.1%} of the window; "
        f"protocol.max_sample_gap_s is {most_s:g}, the largest share {_MAX_MISSED_RATIO:.0%}; the machine of the "
        "sampler was too busy"
    )
    return (because("sampler_gap", detail),)


def sampling_metrics(gpus: Sequence[GpuSamples], window: Window) -> dict[str, float]:
    """Return the longest time between two samples of a GPU."""
    longest_s = _longest_gap_s(gpus, window.edges)
    return {"longest_sample_gap_s": longest_s} if longest_s > 0 else {}


def _longest_gap_s(gpus: Sequence[GpuSamples], edges: Edges) -> float:
    """Return the longest time between successive samples of a GPU that overlaps the window. Units: s."""
    overlapping = [(gpu.t_s[1:] > edges[0]) & (gpu.t_s[:-1] < edges[1]) for gpu in gpus]
    gaps_s = [np.diff(gpu.t_s).max(where=which, initial=0.0) for gpu, which in zip(gpus, overlapping, strict=True)]
    return float(max(gaps_s, default=0.0))


def _missed_s(t_s: Floats, edges: Edges) -> float:
    """Return the time of the window in gaps: distances of several times the usual one."""
    if len(t_s) < 2:
        return 0.0
    usual_s = float(np.median(np.diff(t_s)))
    parts_s = np.clip(t_s[1:], *edges) - np.clip(t_s[:-1], *edges)
    return float(parts_s[np.diff(t_s) > _GAP_PERIODS * usual_s].sum())


def _missing(t_s: Floats, edges: Edges) -> Edges:
    """Return how much of the window lies before the first sample, and after the last. Units: s."""
    if not len(t_s):
        return edges[1] - edges[0], 0.0
    return max(0.0, float(t_s[0]) - edges[0]), max(0.0, edges[1] - float(t_s[-1]))


def _first_error(events: Columns, window: Window) -> str:
    """Return the first error that the sampler reported of a lost sensor, as the end of a message; empty without one."""
    lost = [row for row in events.rows() if row["kind"] in ("lost", "error") and row["t_s"] <= window.end_s]
    return f": {lost[0]['detail']}" if lost else ""


def sharing_reasons(events: Columns) -> tuple[Reason, ...]:
    """Return why the energy is not the cell's alone: it had a part of a GPU, and sensors measure the whole.

    Args:
        events: series ``sensor_events``.
    """
    kinds = zip(events.strings("kind"), events.strings("device"), strict=True)
    gpus = sorted({str(device) for kind, device in kinds if kind == "shared"})
    if not gpus:
        return ()
    detail = (
        f"the engine was on a MIG instance of {', '.join(gpus)}, whose power and energy are those of all its instances "
        "and of what none has: give the cell a whole GPU, or collectors.power=none for latencies alone"
    )
    return (because("shared_gpu", detail),)


def neighbour_reasons(processes: Columns, window: Window) -> tuple[Reason, ...]:
    """Return which other processes used the GPUs in the window; empty if there were none, or if it is unknown.

    A driver outside a container reports process ids that are not those inside; such rows (``own`` null) do not count.
    """
    columns = (processes.values(name) for name in ("t_s", "pid", "own"))
    others = [(t_s, pid) for t_s, pid, own in zip(*columns, strict=True) if own is False]
    foreign = [pid for t_s, pid in others if window.start_s <= t_s <= window.end_s]
    if not foreign:
        return ()
    pids = ", ".join(str(pid) for pid in dict.fromkeys(foreign))
    detail = f"pid {pids} computed on a GPU of the cell, seen {len(foreign)} times; keep others off its GPUs"
    return (because("foreign_process", detail),)


def counter_reasons(gpus: Sequence[GpuEnergy], window: Window) -> tuple[Reason, ...]:
    """Return why an energy counter is unreliable; empty if all are reliable, and for GPUs without a counter."""
    edges = window.edges
    reasons: dict[str, Reason] = {}
    for gpu in gpus:
        falls_s = gpu.falls_within(edges)
        if falls_s:
            detail = (
                f"the energy counter of {gpu.device} fell, first at {falls_s[0][1]:.3g} s; was the driver reloaded?"
            )
            reasons.setdefault("counter_backwards", because("counter_backwards", detail))
        unchanged_s = gpu.counter_unchanged_s(edges)
        if unchanged_s > _MAX_UNCHANGED_S:
            detail = f"the energy counter of {gpu.device} stood still for {unchanged_s:.3g} s; it is unreliable"
            reasons.setdefault("counter_stuck", because("counter_stuck", detail))
    return tuple(reasons.values())


def power_reasons(cell: Cell, gpus: Sequence[GpuSamples], window: Window) -> tuple[Reason, ...]:
    """Return why power samples are implausible; empty if they are plausible."""
    edges = window.edges
    for gpu in gpus:
        known = ~np.isnan(gpu.power_w)
        low = gpu.power_w <= _MIN_POWER_W
        most_w = _MAX_POWER_TO_BOARD * _board_limit_w(gpu, cell)
        for odd, what in ((low, f"{_MIN_POWER_W:g} W or less"), (gpu.power_w > most_w, f"above {most_w:g} W")):
            share = gpu.share(odd, known, edges)
            if share > _MAX_ODD_POWER_RATIO:
                detail = f"{share:.0%} of the power samples of {gpu.device} are {what}; the sensor is unreliable"
                return (because("power_implausible", detail),)
    return ()


def _board_limit_w(gpu: GpuSamples, cell: Cell) -> float:
    """Return the largest known limit of the GPU: the preset's largest, or one that was enforced; NaN if unknown."""
    preset_w = cell.hardware.max_power_limit_w if isinstance(cell.hardware, HardwareSpec) else np.nan
    return float(np.fmax.reduce([preset_w, *gpu.power_limit_w]))
