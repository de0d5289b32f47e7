"""The meter of a simulated engine: its power is computed from what it did, once that is done."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.monitor.base import Prepared
from orchestrator.records.series import by_engine, power_table
from orchestrator.spec.cell import Cell

Floats = npt.NDArray[np.float64]


class ComputedMeter:
    """Cap and clock are the simulated engine's own business."""

    async def prepare(self, cell: Cell) -> Prepared:
        """Nothing is set."""
        return Prepared()

    async def latest(self) -> Mapping[str, Mapping[str, float]]:
        """Nothing is known before the cell has ended."""
        return {}

    async def series(
        self, cell: Cell, origin_s: float, end_s: float, observed: Mapping[str, pa.Table]
    ) -> dict[str, pa.Table]:
        """Power of the GPUs of all engines, numbered on from one engine to the next."""
        iterations = observed["iterations"]
        of_engine = by_engine(iterations)
        tables, first_gpu = [], 0
        for name, own in cell.engine_cells.items():
            runs = of_engine.get(name, iterations.slice(0, 0))
            tables.append(_power(own, runs, first_gpu, (0.0, end_s - origin_s)))
            first_gpu += own.engine.tensor_parallel_size
        return {"power": pa.concat_tables(tables)}


def _power(cell: Cell, iterations: pa.Table, first_gpu: int, window: tuple[float, float]) -> pa.Table:
    runs = {name: iterations.column(name).to_numpy() for name in ("start_s", "end_s", "energy_j", "sm_clock_mhz")}
    return power_table(
        power_samples(
            **runs,
            idle_power_w=cell.gpu.idle_power_w,
            n_gpus=cell.engine.tensor_parallel_size,
            first_gpu=first_gpu,
            window=window,
            period_s=cell.collectors.period_s,
        )
    )


@dataclass(frozen=True, slots=True)
class _Trace:
    """Constant power between edges, of one GPU; ``sm_clock_mhz`` is NaN while idle. Shapes (n + 1,), (n,), (n,)."""

    edges_s: Floats
    power_w: Floats
    sm_clock_mhz: Floats


def power_samples(
    start_s: npt.ArrayLike,
    end_s: npt.ArrayLike,
    energy_j: npt.ArrayLike,
    sm_clock_mhz: npt.ArrayLike,
    *,
    idle_power_w: float,
    n_gpus: int,
    first_gpu: int = 0,
    window: tuple[float, float],
    period_s: float | None = None,
) -> dict[str, npt.NDArray[np.generic]]:
    """Samples of ``n_gpus`` equal GPUs over a window, for linear interpolation between them.

    Power is constant within a run and idle between runs, so each edge has two samples: the trapezoidal integral of
    ``power_w`` and the counter ``energy_j`` are both exact, and agree.

    Args:
        start_s: starts of runs, ascending and apart; shape (runs,).
        end_s: their ends; shape (runs,).
        energy_j: their energies, of all GPUs together; shape (runs,).
        sm_clock_mhz: their clocks; shape (runs,).
        idle_power_w: power of one GPU between runs.
        n_gpus: devices, called ``SIM-<first_gpu>`` and so on.
        first_gpu: number of the first of them.
        window: first and last time of the samples. Units: s.
        period_s: where runs are shorter than this, neighbours are drawn together into their mean power, so that about
            one edge a period is left; edges of idle time stay. Energy between the edges that are left is exact.

    Returns:
        Columns ``t_s, device, power_w, energy_j, sm_clock_mhz``, one device after the other; the counter starts at 0
        and the clock is NaN while idle.
    """
    starts, ends, energies, clocks = (
        np.asarray(column, dtype=np.float64) for column in (start_s, end_s, energy_j, sm_clock_mhz)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        power_w = np.where(ends > starts, energies / n_gpus / (ends - starts), 0.0)
    edges_s = np.concatenate([[window[0]], np.stack([starts, ends], axis=1).ravel(), [window[1]]])
    trace = _trace(np.clip(edges_s, *window), _between(power_w, idle_power_w), _between(clocks, np.nan))
    if period_s is not None:
        trace = _coarse(trace, period_s)
    return _samples(_merged(trace), range(first_gpu, first_gpu + n_gpus))


def _between(of_runs: Floats, idle: float) -> Floats:
    """Values of the runs, with the idle one before, between and after them; shape (2 runs + 1,)."""
    values = np.full(2 * len(of_runs) + 1, idle, dtype=np.float64)
    values[1::2] = of_runs
    return values


def _trace(edges_s: Floats, power_w: Floats, sm_clock_mhz: Floats) -> _Trace:
    """The trace without its empty intervals."""
    some = np.diff(edges_s) > 0
    return _Trace(np.append(edges_s[:-1][some], edges_s[-1]), power_w[some], sm_clock_mhz[some])


def _coarse(trace: _Trace, period_s: float) -> _Trace:
    """Leave the first edge in each period and those of idle time; between them the mean by time."""
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
    """Draw together neighbours of equal power and clock."""
    power_w, clocks = trace.power_w, trace.sm_clock_mhz
    begins = np.ones(len(power_w), dtype=bool)
    same_clock = (clocks[1:] == clocks[:-1]) | (np.isnan(clocks[1:]) & np.isnan(clocks[:-1]))
    begins[1:] = (power_w[1:] != power_w[:-1]) | ~same_clock
    return _Trace(np.append(trace.edges_s[:-1][begins], trace.edges_s[-1]), power_w[begins], clocks[begins])


def _samples(trace: _Trace, gpus: range) -> dict[str, npt.NDArray[np.generic]]:
    """Two samples an interval, at its ends, for every GPU."""
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
