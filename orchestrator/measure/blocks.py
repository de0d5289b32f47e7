"""How sure a window is of its means: successive blocks of it, and the 95 % intervals they give (docs/method.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.measure.columns import Columns, Floats, done_by
from orchestrator.measure.gpu_energy import GpuEnergy
from orchestrator.measure.statistics import MAX_BLOCKS, MIN_BLOCKS, half_width
from orchestrator.measure.window import Window
from orchestrator.records.metrics import BLOCK_HALF_WIDTH
from orchestrator.spec.protocol import ProtocolSpec

_MIN_BLOCK_S = 1.0
"""A shorter block is an instant of power, and of a counter that moves ten times a second."""

_MIN_GAPS = 10
"""So many gaps between tokens, of those longer than 99 % of all, a block is long at least."""

_WANTED_LATENCIES = 2.0
"""A block is so many mean latencies of a request where the window has room for five of them: it resembles what it
shares requests with..."""

_MIN_LATENCIES = {"steady_state": 0.5, "arrivals": 2.0}
"""...and never fewer than these: in an open loop it varies how many requests there are, and that for longer."""

_MIN_REQUESTS = 10
"""A block has so many on average, else energy per request is not asked of it."""


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
    """Half-widths of the intervals of what the window holds, and how many blocks they are of.

    Empty under the rule ``workflows``, where ramp-up and tail are no blocks of a steady state, and where the window has
    no room for blocks that are long enough.

    Args:
        window: of the cell.
        metrics: of the window, so far.
        gpus: energies of the cell's GPUs; none where none were measured.
        series: ``requests``, ``tokens`` and ``iterations``.
        protocol: says how much of a block's energy its edges may leave open.
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
    """Five to ten; None where the window is not one of a steady state or does not hold as many that are long enough."""
    latency_s = metrics.get("mean_e2el_ms", 0.0) / 1e3
    least = _MIN_LATENCIES.get(window.rule)
    if least is None or latency_s <= 0:
        return None
    floor_s = max(_MIN_BLOCK_S, least * latency_s, _MIN_GAPS * metrics.get("p99_itl_ms", 0.0) / 1e3)
    room = window.length_s / floor_s
    open_j = metrics.get("energy_uncertainty_j", 0.0)
    if open_j > 0:
        room = min(room, protocol.max_energy_uncertainty_ratio * metrics.get("total_gpu_energy_j", 0.0) / open_j)
    if room < MIN_BLOCKS:
        return None
    wanted = max(window.length_s / (_WANTED_LATENCIES * latency_s), MIN_BLOCKS)
    return int(min(room, wanted, MAX_BLOCKS))


def block_ratios(edges_s: Floats, gpus: Sequence[GpuEnergy], series: Mapping[str, Columns]) -> dict[str, Ratio]:
    """By the key of the metric; what was not measured is not there."""
    length_s = np.diff(edges_s)
    found: dict[str, Ratio] = {}
    tokens, gaps = _tokens_and_gaps(edges_s, series["tokens"], series["iterations"])
    if tokens is not None:
        found["output_throughput"] = Ratio(over=tokens, under=length_s)
    if gaps is not None:
        found["mean_itl_ms"] = gaps
    energy_j = sum((gpu.between_j(edges_s) for gpu in gpus), np.zeros(len(length_s)))
    if not gpus or np.isnan(energy_j).any():
        return found
    found["avg_gpu_power_w"] = Ratio(over=energy_j, under=length_s)
    if tokens is not None:
        found["gpu_energy_j_per_output_token"] = Ratio(over=energy_j, under=tokens)
    requests, _ = np.histogram(series["requests"].floats("finished_s"), edges_s)
    if requests.mean() >= _MIN_REQUESTS:
        found["gpu_energy_j_per_request"] = Ratio(over=energy_j, under=requests.astype(np.float64))
    return found


def _tokens_and_gaps(edges_s: Floats, tokens: Columns, iterations: Columns) -> tuple[Floats | None, Ratio | None]:
    """Output tokens of each block, and the time between them in ms: as `measure.iterations` counts them."""
    if len(tokens):
        arrived_s, request = tokens.floats("t_s"), tokens.strings("request_id").astype(str)
        gap_s = np.diff(arrived_s)
        counts = (request[1:] == request[:-1]) & (gap_s > 0)
        ends_s, gap_ms = arrived_s[1:][counts], gap_s[counts] * 1e3
        per_block, _ = np.histogram(arrived_s, edges_s)
        sum_ms, _ = np.histogram(ends_s, edges_s, weights=gap_ms)
        n_gaps, _ = np.histogram(ends_s, edges_s)
        return per_block.astype(np.float64), Ratio(over=sum_ms, under=n_gaps.astype(np.float64))
    if not len(iterations):
        return None, None
    start_s, end_s = iterations.floats("start_s"), iterations.floats("end_s")
    continued = iterations.floats("continued_tokens")
    gap_ms = (end_s - start_s) / iterations.floats("n_iterations") * 1e3
    amounts = np.stack([iterations.floats("decode_tokens"), continued, continued * gap_ms], axis=1)
    per_block, n_gaps, sum_ms = np.diff(done_by(start_s, end_s, edges_s) @ amounts, axis=0).T
    return per_block, Ratio(over=sum_ms, under=n_gaps)
