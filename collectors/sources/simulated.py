"""Power of simulated GPUs, computed afterwards from what the simulated engine did: nothing is sampled."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


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
