"""95 % intervals of the means of a window, from successive blocks of it (docs/method.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.measure.columns import Columns, Floats
from orchestrator.measure.gpu_energy import GpuEnergy
from orchestrator.measure.iterations import block_tokens
from orchestrator.measure.statistics import MAX_BLOCKS, MIN_BLOCKS, half_width
from orchestrator.measure.window import Window
from orchestrator.records.metrics import BLOCK_HALF_WIDTH
from orchestrator.spec.protocol import ProtocolSpec

_MIN_BLOCK_S = 1.0
"""A shorter block holds too few updates of the power sensor and of the energy counter."""

_MIN_GAPS = 10
"""A block is at least this many times the 99th percentile of the gaps between tokens."""

_WANTED_LATENCIES = 2.0
"""A block has this many mean latencies of a request if the window has room for five of them: blocks that share more
requests resemble each other."""

_MIN_LATENCIES = {"steady_state": 0.5, "arrivals": 2.0}
"""A block has at least this many mean latencies, by the window's rule: in an open loop the number of requests varies,
and that for longer."""

_MIN_REQUESTS = 10
"""Fewest requests per block, on average, for which energy per request is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A metric as the quotient of two amounts that add up over blocks; shapes (blocks,)."""

    over: Floats
    under: Floats


def block_metrics(
    window: Window,
    metrics: Mapping[str, float],
    gpus: Sequence[GpuEnergy],
    series: Mapping[str, Columns],
    protocol: ProtocolSpec,
) -> dict[str, float]:
    """Return the half-widths of the intervals of metrics of the window, and the number of blocks.

    Empty under the rule ``workflows``, where ramp-up and tail are not blocks of a steady state, and if the window does
    not hold enough blocks that are long enough.

    Args:
        window: of the cell.
        metrics: of the window, so far.
        gpus: energies of the cell's GPUs; empty if not measured.
        series: ``requests``, ``tokens`` and ``iterations``.
        protocol: sets the largest uncertainty of a block's energy.
    """
    n = number_of_blocks(window, metrics, protocol)
    if n is None:
        return {}
    edges_s = np.linspace(window.start_s, window.end_s, n + 1)
    ratios = block_ratios(edges_s, gpus, series)
    widths = {BLOCK_HALF_WIDTH + key: half_width(ratio.over, ratio.under) for key, ratio in ratios.items()}
    known = {key: width for key, width in widths.items() if not np.isnan(width)}
    return {"num_blocks": float(n), **known} if known else {}


def number_of_blocks(window: Window, metrics: Mapping[str, float], protocol: ProtocolSpec) -> int | None:
    """Return five to ten; None if the window is not one of a steady state or does not hold enough long blocks."""
    latency_s = metrics.get("mean_e2el_ms", 0.0) / 1e3
    least = _MIN_LATENCIES.get(window.rule)
    if least is None or latency_s <= 0:
        return None
    shortest_s = max(_MIN_BLOCK_S, least * latency_s, _MIN_GAPS * metrics.get("p99_itl_ms", 0.0) / 1e3)
    most = window.length_s / shortest_s
    uncertainty_j = metrics.get("energy_uncertainty_j", 0.0)
    if uncertainty_j > 0:
        most = min(most, protocol.max_energy_uncertainty_ratio * metrics.get("total_gpu_energy_j", 0.0) / uncertainty_j)
    if most < MIN_BLOCKS:
        return None
    wanted = max(window.length_s / (_WANTED_LATENCIES * latency_s), MIN_BLOCKS)
    return int(min(most, wanted, MAX_BLOCKS))


def block_ratios(edges_s: Floats, gpus: Sequence[GpuEnergy], series: Mapping[str, Columns]) -> dict[str, Ratio]:
    """Return the ratios by the keys of their metrics, without those that were not measured."""
    length_s = np.diff(edges_s)
    ratios: dict[str, Ratio] = {}
    counts = block_tokens(edges_s, series["tokens"], series["iterations"])
    if counts is not None:
        n_tokens, gaps_ms, n_gaps = counts
        ratios["output_throughput"] = Ratio(over=n_tokens, under=length_s)
        ratios["mean_itl_ms"] = Ratio(over=gaps_ms, under=n_gaps)
    energy_j = sum((gpu.between_j(edges_s) for gpu in gpus), np.zeros(len(length_s)))
    if not gpus or np.isnan(energy_j).any():
        return ratios
    ratios["avg_gpu_power_w"] = Ratio(over=energy_j, under=length_s)
    if counts is not None:
        ratios["gpu_energy_j_per_output_token"] = Ratio(over=energy_j, under=n_tokens)
    requests, _ = np.histogram(series["requests"].floats("finished_s"), edges_s)
    if requests.mean() >= _MIN_REQUESTS:
        ratios["gpu_energy_j_per_request"] = Ratio(over=energy_j, under=requests.astype(np.float64))
    return ratios
