"""Monitors that need no hardware: the power of a simulated engine is computed from its iterations after the cell."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.monitor.base import Monitor, NullMonitor
from orchestrator.records.series import by_engine, power_table
from orchestrator.spec.cell import Cell
from orchestrator.spec.protocol import COMPUTED_POWER

Floats = npt.NDArray[np.float64]


def monitor_without_hardware(cell: Cell) -> Monitor | None:
    """Return the monitor of a cell that needs no sensor and sets no GPU; None if the cell needs hardware."""
    if cell.collectors.power == COMPUTED_POWER:
        return ComputedMonitor()
    return None if cell.collectors.samples or cell.on_gpus else NullMonitor()


class ComputedMonitor(NullMonitor):
    """The monitor of a simulated engine. It sets nothing: the engine itself models power limit and clock."""

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, recorded: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """Return the power of the GPUs of all engines; GPUs are numbered across engines."""
        iterations = recorded["iterations"]
        of_engine = by_engine(iterations)
        tables, first_gpu = [], 0
        for name, own in cell.engine_cells.items():
            own_iterations = of_engine.get(name, iterations.slice(0, 0))
            tables.append(_power(own, own_iterations, first_gpu, (0.0, end_s - origin_s)))
            first_gpu += own.engine.tensor_parallel_size
        return {"power": pa.concat_tables(tables)}


def _power(cell: Cell, iterations: pa.Table, first_gpu: int, window: tuple[float, float]) -> pa.Table:
    return power_table(
        power_samples(
            Runs(**{name: iterations.column(name).to_numpy() for name in Runs.__dataclass_fields__}),
            idle_power_w=cell.gpu.idle_power_w,
            gpus=range(first_gpu, first_gpu + cell.engine.tensor_parallel_size),
            window=window,
            period_s=cell.collectors.period_s,
        )
    )


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of equal iterations, in order, without overlap; shapes (runs,). ``energy_j`` is of all GPUs together."""

    start_s: npt.ArrayLike
    end_s: npt.ArrayLike
    energy_j: npt.ArrayLike
    sm_clock_mhz: npt.ArrayLike


def power_samples(
    runs: Runs, *, idle_power_w: float, gpus: range, window: tuple[float, float], period_s: float | None = None
) -> dict[str, npt.NDArray[np.generic]]:
    """Compute samples of equal GPUs over a window, for linear interpolation between samples.

    Power is constant within a run and idle between runs, so each edge has two samples: the trapezoidal integral of
    ``power_w`` and the counter ``energy_j`` are both exact, and agree.

    Args:
        runs: What the engine did.
        idle_power_w: Power of one GPU between runs.
        gpus: Numbers of the GPUs, which are named ``SIM-<number>``.
        window: First and last time of the samples. Units: s.
        period_s: If given, merge shorter neighbouring runs into their mean power, so that about one edge per period
            is left. Edges of idle time stay. The energy between the remaining edges is exact.

    Returns:
        Columns ``t_s, device, power_w, energy_j, sm_clock_mhz``, one device after the other; the counter starts at 0
        and the clock is NaN while idle.
    """
    trace = _trace(runs, idle_power_w, len(gpus), window)
    if period_s is not None:
        trace = _coarse(trace, period_s)
    return _samples(_merged(trace), gpus)


@dataclass(frozen=True, slots=True)
class _Trace:
    """Constant power between edges, of one GPU; ``sm_clock_mhz`` is NaN while idle. Shapes (n + 1,), (n,), (n,)."""

    edges_s: Floats
    power_w: Floats
    sm_clock_mhz: Floats


def _trace(runs: Runs, idle_power_w: float, n_gpus: int, window: tuple[float, float]) -> _Trace:
    """Return the trace of one GPU over the window, without empty intervals."""
    starts, ends, energies, clocks = (
        np.asarray(column, dtype=np.float64) for column in (runs.start_s, runs.end_s, runs.energy_j, runs.sm_clock_mhz)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        power_w = np.where(ends > starts, energies / n_gpus / (ends - starts), 0.0)
    edges_s = np.concatenate([[window[0]], np.stack([starts, ends], axis=1).ravel(), [window[1]]])
    edges_s = np.clip(edges_s, *window)
    kept = np.diff(edges_s) > 0
    return _Trace(
        np.append(edges_s[:-1][kept], edges_s[-1]),
        _with_idle(power_w, idle_power_w)[kept],
        _with_idle(clocks, np.nan)[kept],
    )


def _with_idle(of_runs: Floats, idle: float) -> Floats:
    """Return the values of the runs, with the idle value before, between and after them; shape (2 runs + 1,)."""
    values = np.full(2 * len(of_runs) + 1, idle, dtype=np.float64)
    values[1::2] = of_runs
    return values


def _coarse(trace: _Trace, period_s: float) -> _Trace:
    """Keep the first edge of each period and the edges of idle time; average over time in between."""
    lengths_s = np.diff(trace.edges_s)
    if not len(lengths_s):
        return trace
    busy = ~np.isnan(trace.sm_clock_mhz)
    periods = np.floor((trace.edges_s[:-1] - trace.edges_s[0]) / period_s)
    first = np.ones(len(lengths_s), dtype=bool)
    first[1:] = (np.diff(periods) > 0) | ~busy[1:] | ~busy[:-1]
    begins = np.flatnonzero(first)
    total_s = np.add.reduceat(lengths_s, begins)
    power_w = np.add.reduceat(trace.power_w * lengths_s, begins) / total_s
    clocks = np.add.reduceat(trace.sm_clock_mhz * lengths_s, begins) / total_s
    return _Trace(np.append(trace.edges_s[:-1][first], trace.edges_s[-1]), power_w, clocks)


def _merged(trace: _Trace) -> _Trace:
    """Merge neighbours of equal power and clock."""
    power_w, clocks = trace.power_w, trace.sm_clock_mhz
    begins = np.ones(len(power_w), dtype=bool)
    same_clock = (clocks[1:] == clocks[:-1]) | (np.isnan(clocks[1:]) & np.isnan(clocks[:-1]))
    begins[1:] = (power_w[1:] != power_w[:-1]) | ~same_clock
    return _Trace(np.append(trace.edges_s[:-1][begins], trace.edges_s[-1]), power_w[begins], clocks[begins])


def _samples(trace: _Trace, gpus: range) -> dict[str, npt.NDArray[np.generic]]:
    """Return two samples per interval, at its ends, for every GPU."""
    counter_j = np.concatenate([[0.0], np.cumsum(trace.power_w * np.diff(trace.edges_s))])
    t_s = np.stack([trace.edges_s[:-1], trace.edges_s[1:]], axis=1).ravel()
    energy_j = np.stack([counter_j[:-1], counter_j[1:]], axis=1).ravel()
    devices = np.array([f"SIM-{index}" for index in gpus], dtype=object)
    return {
        "t_s": np.tile(t_s, len(gpus)),
        "device": np.repeat(devices, len(t_s)),
        "power_w": np.tile(np.repeat(trace.power_w, 2), len(gpus)),
        "energy_j": np.tile(energy_j, len(gpus)),
        "sm_clock_mhz": np.tile(np.repeat(trace.sm_clock_mhz, 2), len(gpus)),
    }
