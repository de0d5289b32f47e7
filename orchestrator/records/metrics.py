"""Every metric of a record: its unit, which way is better, what it means.

This table drives MLflow keys, the report and docs/metrics.md. Latency keys are those of `vllm bench serve`.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

INERT_BELOW = 0.01
"""A power limit that held the clock down for less than this share of the busy time is called inert."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table. ``unit`` is empty for counts and ratios."""

    key: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    meaning: str


_STATISTICS = {"mean": "mean", "median": "median", "p90": "90th", "p95": "95th", "p99": "99th"}
_LATENCIES = {
    "ttft": "time from submitting a request to its first token",
    "tpot": "time per output token after the first, per request",
    "itl": "gap between two successive tokens of a sequence, over all gaps",
    "e2el": "time from submitting a request to its last token",
    "workflow": "time from a workflow's arrival to the end of its last step, orchestration included",
    "send_delay": "from when a workflow was due to when its first request was submitted",
}


def _latency_rows() -> tuple[Metric, ...]:
    def row(statistic: str, latency: str) -> Metric:
        word = _STATISTICS[statistic]
        which = word if statistic in ("mean", "median") else f"{word} percentile"
        return Metric(f"{statistic}_{latency}_ms", "ms", "lower", f"{which} of: {_LATENCIES[latency]}")

    return tuple(row(statistic, latency) for latency in _LATENCIES for statistic in _STATISTICS)


BLOCK_HALF_WIDTH = "block_half_width:"
"""Prefix of half-widths of intervals from blocks within one window: of no use for what repeats are to tell."""

_OF_BLOCKS = (
    "gpu_energy_j_per_output_token",
    "gpu_energy_j_per_request",
    "avg_gpu_power_w",
    "output_throughput",
    "mean_itl_ms",
)


def _block_rows(rows: tuple[Metric, ...]) -> tuple[Metric, ...]:
    units = {row.key: row.unit for row in rows}
    return (
        *(
            Metric(
                BLOCK_HALF_WIDTH + key,
                units[key],
                "neither",
                f"half-width of the 95 % interval of {key} within the window, by batch means",
            )
            for key in _OF_BLOCKS
        ),
        Metric("num_blocks", "", "neither", "blocks of the window that these intervals are of"),
    )


_MEASURED: tuple[Metric, ...] = (
    Metric("total_gpu_energy_j", "J", "lower", "energy of the cell's GPUs over the window, idle included"),
    Metric("active_gpu_energy_j", "J", "lower", "the same less idle power over the window"),
    Metric(
        "integral_gpu_energy_j",
        "J",
        "lower",
        "total_gpu_energy_j by the integral of instantaneous power: the independent check of the counter",
    ),
    Metric(
        "energy_uncertainty_j",
        "J",
        "lower",
        "what the window's edges leave open of a sampled total_gpu_energy_j; the sensor's gain is not in it",
    ),
    Metric(
        "cell_gpu_energy_j",
        "J",
        "lower",
        "energy of the GPUs from the cell's begin to its last finish: idle baseline, window and drain",
    ),
    Metric("cpu_energy_j", "J", "lower", "energy of the node's CPU packages over the window"),
    Metric("dram_energy_j", "J", "lower", "energy of the node's memory over the window"),
    Metric(
        "gpu_energy_j_per_output_token",
        "J/tok",
        "lower",
        "total_gpu_energy_j per token generated in the window",
    ),
    Metric("gpu_energy_j_per_request", "J/req", "lower", "total_gpu_energy_j per request finished in the window"),
    Metric(
        "gpu_energy_j_per_workflow",
        "J/workflow",
        "lower",
        "total_gpu_energy_j per workflow finished in the window",
    ),
    Metric(
        "attributed_energy_j_per_workflow",
        "J/workflow",
        "lower",
        "prefill and decode energy of all requests of the workflows finished in the window, per workflow",
    ),
    Metric("prefill_energy_j", "J", "lower", "part of the window's energy attributed to prompt tokens"),
    Metric("decode_energy_j", "J", "lower", "part of the window's energy attributed to generated tokens"),
    Metric(
        "attribution_residual_ratio",
        "",
        "neither",
        "share of the measured energy that attribution puts on no request and that is not idle",
    ),
    Metric(
        "attribution_misfit_ratio",
        "",
        "lower",
        "mean error of the modelled energy of a sensor's interval before it is scaled to the measured one",
    ),
    Metric("idle_energy_j", "J", "lower", "energy of the window's intervals without any request"),
    Metric("energy_gap_ratio", "", "neither", "integral of power over the energy counter, less one"),
    Metric(
        "energy_gap_spread_ratio",
        "",
        "lower",
        "how far integral and counter are apart second by second: 95th percentile, over mean energy",
    ),
    Metric(
        "sensor_aliasing_ratio",
        "",
        "lower",
        "most by which iterations that repeat near the sensor's period may move the mean power",
    ),
    Metric("longest_sample_gap_s", "s", "lower", "longest time between two samples of a GPU"),
    Metric("avg_gpu_power_w", "W", "neither", "total_gpu_energy_j over the window's length"),
    Metric("peak_gpu_power_w", "W", "neither", "largest power sample in the window, summed over the cell's GPUs"),
    Metric(
        "idle_gpu_power_w",
        "W",
        "neither",
        "mean power in intervals without requests; absent if there were none",
    ),
    Metric("avg_sm_clock_mhz", "MHz", "neither", "busy-time mean of the SM clock"),
    Metric("cap_bound_ratio", "", "neither", "share of busy time in which the power limit held the clock down"),
    Metric(
        "power_to_cap_ratio", "", "neither", "avg_gpu_power_w over the power limits in force, of all GPUs of the cell"
    ),
    Metric("thermal_throttle_ratio", "", "lower", "share of the window in which heat held the clock down"),
    Metric("power_brake_ratio", "", "lower", "share of the window in which the power brake held the clock down"),
    Metric("max_gpu_temperature_c", "C", "neither", "highest temperature of a GPU in the window"),
    Metric("energy_delay_product_js", "J·s", "lower", "energy per request times mean e2el"),
    Metric("cost_usd", "USD", "lower", "total_gpu_energy_j at tariff.price_per_kwh_usd; with that price"),
    Metric("carbon_g_co2e", "g", "lower", "total_gpu_energy_j at tariff.carbon_g_per_kwh; with that intensity"),
    *_latency_rows(),
    Metric("request_throughput", "req/s", "higher", "requests finished in the window over its length"),
    Metric("output_throughput", "tok/s", "higher", "tokens generated in the window over its length"),
    Metric(
        "total_token_throughput",
        "tok/s",
        "higher",
        "prompt and output tokens of requests finished, over its length",
    ),
    Metric("workflow_throughput", "workflow/s", "higher", "workflows finished in the window over its length"),
    Metric(
        "request_goodput",
        "req/s",
        "higher",
        "requests begun in the window and served within all limits of a request, over its length; with an slo",
    ),
    Metric("slo_attainment_ratio", "", "higher", "share of the requests begun in the window within those limits"),
    Metric(
        "workflow_goodput",
        "workflow/s",
        "higher",
        "workflows begun in the window and done within slo.workflow_ms, over its length; with that limit",
    ),
    Metric(
        "workflow_slo_attainment_ratio",
        "",
        "higher",
        "share of the workflows begun in the window within that limit",
    ),
    Metric(
        "orchestration_overhead_ms",
        "ms",
        "lower",
        "mean per workflow: its time less its steps on the critical path",
    ),
    Metric("window_s", "s", "neither", "length of the measured window"),
    Metric("num_repetitions", "", "neither", "how often the load was run; with protocol.max_repetitions above 1"),
    Metric("num_requests", "", "neither", "requests finished in the window"),
    Metric("num_workflows", "", "neither", "workflows finished in the window"),
    Metric("num_output_tokens", "tok", "neither", "tokens generated in the window"),
    Metric("mean_num_running", "", "neither", "busy-time mean of the sequences in a batch"),
    Metric(
        "scheduler_record_cost_ratio", "", "lower", "what recording the iterations took of a real engine's busy time"
    ),
    Metric(
        "prefix_cache_hit_ratio",
        "",
        "higher",
        "prompt tokens found in the prefix cache over all prompt tokens",
    ),
    Metric("num_preemptions", "", "lower", "preemptions of requests finished in the window"),
    Metric("peak_kv_usage_ratio", "", "neither", "largest share of the KV cache in use"),
)

METRICS = (*_MEASURED, *_block_rows(_MEASURED))
BY_KEY = {metric.key: metric for metric in METRICS}
OF_CELLS = tuple(key for key in BY_KEY if not key.startswith(BLOCK_HALF_WIDTH))
"""What has a mean over cells: a half-width within one window says nothing of others."""


def as_markdown() -> str:
    """The table as docs/metrics.md holds it: ``python -m orchestrator.records.metrics > docs/metrics.md``."""
    rows = (f"| `{m.key}` | {m.unit or '-'} | {m.better} | {m.meaning} |" for m in METRICS)
    head = (
        "# Metrics\n\n"
        "Every metric of a record, as `orchestrator/records/metrics.py` defines it. What was not measured is absent.\n"
        "Windows and denominators: [method.md](method.md). Where several tenants share a cell, each has its own\n"
        "`tenant/<tenant>/<metric>` of some of these ([objectives.md](objectives.md)); where workflows have\n"
        "several roles, each its `role/<role>/attributed_energy_j_per_workflow`: they add up to the cell's.\n\n"
        "| key | unit | better | meaning |\n|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())


def cap_effect(config: Mapping[str, Any], metrics: Mapping[str, float]) -> str | None:
    """``inert`` where a limit was set and never bound, ``bound`` where it did.

    None where none below the default was set, and where the driver does not tell.
    """
    limit_w, default_w = config.get("hardware.power_limit_w"), config.get("hardware.default_power_limit_w")
    if limit_w is None or limit_w >= (default_w or math.inf) or "cap_bound_ratio" not in metrics:
        return None
    return "inert" if metrics["cap_bound_ratio"] < INERT_BELOW else "bound"
