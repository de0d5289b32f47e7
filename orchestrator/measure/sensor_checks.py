"""Whether a window was sampled without a break."""

from collections.abc import Sequence

import numpy as np

from orchestrator.measure.columns import Columns, Floats, GpuSamples
from orchestrator.measure.gpu_energy import Edges, GpuEnergy
from orchestrator.measure.reasons import because
from orchestrator.measure.thresholds import (
    GAP_PERIODS,
    MAX_COUNTER_STAND_S,
    MAX_MISSED_RATIO,
    MAX_ODD_POWER_RATIO,
    MAX_POWER_TO_BOARD,
    MIN_POWER_W,
)
from orchestrator.measure.window import Window
from orchestrator.records.record import Reason
from orchestrator.spec.cell import Cell
from orchestrator.spec.hardware import HardwareSpec


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


def sharing_reasons(events: Columns) -> tuple[Reason, ...]:
    """GPUs of which the cell had a part and the sensors told the whole; ``events`` are ``sensor_events``."""
    told = zip(events.strings("kind"), events.strings("device"), strict=True)
    gpus = sorted({str(device) for kind, device in told if kind == "shared"})
    if not gpus:
        return ()
    detail = (
        f"the engine was on a MIG instance of {', '.join(gpus)}, whose power and energy are those of all its instances "
        "and of what none has: give the cell a whole GPU, or collectors.power=none for latencies alone"
    )
    return (because("shared_gpu", detail),)


def neighbour_reasons(processes: Columns, window: Window) -> tuple[Reason, ...]:
    """Processes of others in the window; empty if there were none, or nobody looked.

    A driver outside a container names processes by ids that are not those inside: such (``own`` null) are nobody's.
    """
    columns = (processes.values(name) for name in ("t_s", "pid", "own"))
    seen = [(t_s, pid) for t_s, pid, own in zip(*columns, strict=True) if own is False]
    foreign = [pid for t_s, pid in seen if window.start_s <= t_s <= window.end_s]
    if not foreign:
        return ()
    pids = ", ".join(str(pid) for pid in dict.fromkeys(foreign))
    detail = f"pid {pids} computed on a GPU of the cell, seen {len(foreign)} times; keep others off its GPUs"
    return (because("foreign_process", detail),)


def counter_reasons(gpus: Sequence[GpuEnergy], window: Window) -> tuple[Reason, ...]:
    """Why a counter is not believed; empty where all are, and of GPUs that have none."""
    edges = (window.start_s, window.end_s)
    found: dict[str, Reason] = {}
    for gpu in gpus:
        falls_s = gpu.falls_within(edges)
        if falls_s:
            detail = (
                f"the energy counter of {gpu.device} fell, first at {falls_s[0][1]:.3g} s; was the driver loaded again?"
            )
            found.setdefault("counter_backwards", because("counter_backwards", detail))
        stands_s = gpu.counter_stands_s(edges)
        if stands_s > MAX_COUNTER_STAND_S:
            detail = f"the energy counter of {gpu.device} stood still for {stands_s:.3g} s; it is not to be believed"
            found.setdefault("counter_stuck", because("counter_stuck", detail))
    return tuple(found.values())


def power_reasons(cell: Cell, gpus: Sequence[GpuSamples], window: Window) -> tuple[Reason, ...]:
    """Why power samples are not believed; empty if they are."""
    edges = (window.start_s, window.end_s)
    for gpu in gpus:
        known = ~np.isnan(gpu.power_w)
        low = gpu.power_w <= MIN_POWER_W
        most_w = MAX_POWER_TO_BOARD * _board_limit_w(gpu, cell)
        for odd, what in ((low, f"{MIN_POWER_W:g} W or less"), (gpu.power_w > most_w, f"above {most_w:g} W")):
            share = gpu.share(odd, known, edges)
            if share > MAX_ODD_POWER_RATIO:
                detail = (
                    f"{share:.0%} of the power samples of {gpu.device} are {what}; the sensor is not to be believed"
                )
                return (because("power_implausible", detail),)
    return ()


def _board_limit_w(gpu: GpuSamples, cell: Cell) -> float:
    """The most that the GPU's limit may be, as far as it is known: the preset's, or one that was enforced; else NaN."""
    preset_w = cell.hardware.max_power_limit_w if isinstance(cell.hardware, HardwareSpec) else np.nan
    return float(np.fmax.reduce([preset_w, *gpu.power_limit_w]))
