"""The table of all metrics of a record: key, unit, better direction, and meaning.

MLflow keys, the report and docs/metrics.md use this table. Latency keys are those of ``vllm bench serve``.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

INERT_BELOW = 0.01
"""A power limit that reduced the clock in less than this share of busy time is inert."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table; ``unit`` is empty for counts and ratios."""

    key: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    meaning: str


_STATISTICS = {
    "mean": "mean",
    "median": "median",
    "p90": "90th percentile",
    "p95": "95th percentile",
    "p99": "99th percentile",
}
_LATENCIES = {
    "ttft": "time from submitting a request to its first token",
    "tpot": "time per output token after the first, of a request",
    "itl": "time between two successive tokens of a sequence, over all such gaps",
    "e2el": "time from submitting a request to its last token",
    "workflow": "time from the arrival of a workflow to the end of its last step, orchestration included",
    "send_delay": "time from the due time of a workflow to the submission of its first request",
}


def _latency_rows() -> tuple[Metric, ...]:
    def row(statistic: str, latency: str) -> Metric:
        meaning = f"{_STATISTICS[statistic]} of: {_LATENCIES[latency]}"
        return Metric(f"{statistic}_{latency}_ms", "ms", "lower", meaning)

    return tuple(row(statistic, latency) for latency in _LATENCIES for statistic in _STATISTICS)


BLOCK_HALF_WIDTH = "block_half_width:"
"""Prefix of the half-widths of intervals from blocks within one window; they do not replace repeats."""

_BLOCK_METRICS = (
    "gpu_energy_j_per_output_token",
    "gpu_energy_j_per_request",
    "avg_gpu_power_w",
    "output_throughput",
    "mean_itl_ms",
)
_HALF_WIDTH = "half-width of the 95 % interval of {key} within the window, by batch means"


def _block_rows(rows: tuple[Metric, ...]) -> tuple[Metric, ...]:
    units = {row.key: row.unit for row in rows}
    return (
        *(Metric(BLOCK_HALF_WIDTH + key, units[key], "neither", _HALF_WIDTH.format(key=key)) for key in _BLOCK_METRICS),
        Metric("num_blocks", "", "neither", "number of blocks of the window used for these intervals"),
    )


_MEASURED: tuple[Metric, ...] = (
    Metric("total_gpu_energy_j", "J", "lower", "energy of the cell's GPUs in the window, idle included"),
    Metric("active_gpu_energy_j", "J", "lower", "total_gpu_energy_j minus idle power times the length of the window"),
    Metric(
        "integral_gpu_energy_j",
        "J",
        "lower",
        "total_gpu_energy_j by the integral of instantaneous power: an independent check of the counter",
    ),
    Metric(
        "energy_uncertainty_j",
        "J",
        "lower",
        "uncertainty of a sampled total_gpu_energy_j from the edges of the window; excludes the sensor's gain error",
    ),
    Metric(
        "cell_gpu_energy_j",
        "J",
        "lower",
        "energy of the GPUs from the start of the cell to its last finish: idle baseline, window and drain",
    ),
    Metric("cpu_energy_j", "J", "lower", "energy of the node's CPU packages in the window"),
    Metric("dram_energy_j", "J", "lower", "energy of the node's memory in the window"),
    Metric("gpu_energy_j_per_output_token", "J/tok", "lower", "total_gpu_energy_j per token generated in the window"),
    Metric("gpu_energy_j_per_request", "J/req", "lower", "total_gpu_energy_j per request finished in the window"),
    Metric(
        "gpu_energy_j_per_workflow", "J/workflow", "lower", "total_gpu_energy_j per workflow finished in the window"
    ),
    Metric(
        "attributed_energy_j_per_workflow",
        "J/workflow",
        "lower",
        "prefill and decode energy of all requests of the workflows finished in the window, per workflow",
    ),
    Metric("prefill_energy_j", "J", "lower", "energy of the window attributed to prompt tokens"),
    Metric("decode_energy_j", "J", "lower", "energy of the window attributed to generated tokens"),
    Metric(
        "attribution_residual_ratio",
        "",
        "neither",
        "share of the measured energy that is neither attributed to a request nor idle",
    ),
    Metric(
        "attribution_misfit_ratio",
        "",
        "lower",
        "mean error of the modelled energy of a sensor interval, before it is scaled to the measured energy",
    ),
    Metric("idle_energy_j", "J", "lower", "energy of the intervals of the window without a request"),
    Metric("energy_gap_ratio", "", "neither", "integral of power divided by the energy counter, minus one"),
    Metric(
        "energy_gap_spread_ratio",
        "",
        "lower",
        "difference of integral and counter over single seconds: 95th percentile, divided by mean energy",
    ),
    Metric(
        "sensor_aliasing_ratio",
        "",
        "lower",
        "largest relative error of mean power from iterations that repeat near the sensor's period",
    ),
    Metric("longest_sample_gap_s", "s", "lower", "longest time between two samples of a GPU"),
    Metric("avg_gpu_power_w", "W", "neither", "total_gpu_energy_j divided by the length of the window"),
    Metric("peak_gpu_power_w", "W", "neither", "largest power sample in the window, summed over the cell's GPUs"),
    Metric("idle_gpu_power_w", "W", "neither", "mean power in intervals without requests; absent if there was none"),
    Metric("avg_sm_clock_mhz", "MHz", "neither", "mean SM clock over busy time"),
    Metric("cap_bound_ratio", "", "neither", "share of busy time in which the power limit reduced the clock"),
    Metric(
        "power_to_cap_ratio",
        "",
        "neither",
        "avg_gpu_power_w divided by the power limits in force, of all GPUs of the cell",
    ),
    Metric("thermal_throttle_ratio", "", "lower", "share of the window in which heat reduced the clock"),
    Metric("power_brake_ratio", "", "lower", "share of the window in which the power brake reduced the clock"),
    Metric("max_gpu_temperature_c", "C", "neither", "highest temperature of a GPU in the window"),
    Metric("energy_delay_product_js", "J·s", "lower", "energy per request times mean e2el"),
    Metric("cost_usd", "USD", "lower", "total_gpu_energy_j times tariff.price_per_kwh_usd; only if that price is set"),
    Metric(
        "carbon_g_co2e", "g", "lower", "total_gpu_energy_j times tariff.carbon_g_per_kwh; only if that intensity is set"
    ),
    *_latency_rows(),
    Metric("request_throughput", "req/s", "higher", "requests finished in the window, divided by its length"),
    Metric("output_throughput", "tok/s", "higher", "tokens generated in the window, divided by its length"),
    Metric(
        "total_token_throughput",
        "tok/s",
        "higher",
        "prompt and output tokens of requests finished in the window, divided by its length",
    ),
    Metric("workflow_throughput", "workflow/s", "higher", "workflows finished in the window, divided by its length"),
    Metric(
        "request_goodput",
        "req/s",
        "higher",
        "requests that began in the window and met all request limits, divided by its length; only with an slo",
    ),
    Metric("slo_attainment_ratio", "", "higher", "share of the requests that began in the window and met these limits"),
    Metric(
        "workflow_goodput",
        "workflow/s",
        "higher",
        "workflows that began in the window and met slo.workflow_ms, divided by its length; only with that limit",
    ),
    Metric(
        "workflow_slo_attainment_ratio",
        "",
        "higher",
        "share of the workflows that began in the window and met that limit",
    ),
    Metric(
        "orchestration_overhead_ms",
        "ms",
        "lower",
        "mean over workflows of the workflow time minus the steps on its critical path",
    ),
    Metric("window_s", "s", "neither", "length of the measured window"),
    Metric(
        "num_repetitions",
        "",
        "neither",
        "number of repetitions of the load; only with protocol.max_repetitions above 1",
    ),
    Metric("num_requests", "", "neither", "requests finished in the window"),
    Metric("num_workflows", "", "neither", "workflows finished in the window"),
    Metric("num_output_tokens", "tok", "neither", "tokens generated in the window"),
    Metric("mean_num_running", "", "neither", "mean number of sequences in a batch, over busy time"),
    Metric(
        "scheduler_record_cost_ratio",
        "",
        "lower",
        "share of a real engine's busy time spent on recording its iterations",
    ),
    Metric(
        "prefix_cache_hit_ratio", "", "higher", "prompt tokens found in the prefix cache, divided by all prompt tokens"
    ),
    Metric("num_preemptions", "", "lower", "preemptions of requests finished in the window"),
    Metric("peak_kv_usage_ratio", "", "neither", "largest share of the KV cache in use"),
)

METRICS = (*_MEASURED, *_block_rows(_MEASURED))
BY_KEY = {metric.key: metric for metric in METRICS}
OF_CELLS = tuple(key for key in BY_KEY if not key.startswith(BLOCK_HALF_WIDTH))
"""Keys that have a mean over cells; half-widths within one window are excluded."""


def as_markdown() -> str:
    """Return docs/metrics.md; write it with ``python -m orchestrator.records.metrics > docs/metrics.md``."""
    rows = (f"| `{m.key}` | {m.unit or '-'} | {m.better} | {m.meaning} |" for m in METRICS)
    head = (
        "# Metrics\n\n"
        "All metrics of a record, defined in `orchestrator/records/metrics.py`. A metric that was not measured is\n"
        "absent. [method.md](method.md) defines windows and denominators.\n\n"
        "If several tenants share a cell, each tenant has its own `tenant/<tenant>/<metric>` for some of these\n"
        "metrics ([objectives.md](objectives.md)). If workflows have several roles, each role has its own\n"
        "`role/<role>/attributed_energy_j_per_workflow`. The sum over the roles is the value of the cell.\n\n"
        "| key | unit | better | meaning |\n|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def cap_effect(config: Mapping[str, Any], metrics: Mapping[str, float]) -> str | None:
    """Return ``inert`` if a power limit was set but did not reduce the clock, ``bound`` if it did.

    None if no limit below the default was set, or if the driver does not report why the clock was reduced.
    """
    limit_w, default_w = config.get("hardware.power_limit_w"), config.get("hardware.default_power_limit_w")
    if limit_w is None or limit_w >= (default_w or math.inf) or "cap_bound_ratio" not in metrics:
        return None
    return "inert" if metrics["cap_bound_ratio"] < INERT_BELOW else "bound"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
