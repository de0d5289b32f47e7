"""``python -m benchmarks.attribution_error``: how far attributed energies are off a truth that the method cannot see.

Simulated cells, played sensors (`benchmarks.played_sensor`), GPUs whose power is not what the method assumes; beside it
how others divide the same energy (`benchmarks.attribution_peers`).
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.attribution_peers import Division, by_output_tokens, by_time, by_tokens
from benchmarks.attribution_truth import Hidden, drawn_factors, hidden
from benchmarks.kept import write_results
from benchmarks.machine import machine, today
from benchmarks.played_sensor import Sensor
from orchestrator.attribution.attribute import INTERVAL_S, METHOD, attribute
from orchestrator.measure.columns import Columns, Floats

_CLOSED = ("load=closed", "load.users={n}", "load.num_workflows={m}", "engine.max_num_seqs={n}")


def _closed(batch: int, workflows: int) -> tuple[str, ...]:
    return tuple(part.format(n=batch, m=workflows) for part in _CLOSED)


CASES: Mapping[str, tuple[str, ...]] = {
    **{f"chat, batch {n}": ("workflow=chat", *_closed(n, max(24, 4 * n))) for n in (1, 4, 16, 64)},
    "chat, Poisson 4/s": ("workflow=chat", "load=poisson", "load.request_rate=4", "load.num_workflows=128"),
    "chat, 60 % cap": ("workflow=chat", *_closed(16, 64), "hardware.power_limit_w=60%"),
    "chat, 40 % cap": ("workflow=chat", *_closed(64, 256), "hardware.power_limit_w=40%"),
    "chat, 70B on 4 GPUs": (
        "workflow=chat",
        *_closed(16, 64),
        "model=llama3_1_70b",
        "hardware=h100_sxm",
        "engine.tensor_parallel_size=4",
    ),
    "chat, mixture of experts": ("workflow=chat", *_closed(16, 64), "model=qwen3_30b_a3b", "hardware=h100_sxm"),
    "chat, H100": ("workflow=chat", *_closed(32, 128), "hardware=h100_sxm"),
    "copilot, prefix cache": ("workflow=copilot", *_closed(16, 64)),
    "copilot, no prefix cache": ("workflow=copilot", *_closed(8, 32), "engine.enable_prefix_caching=false"),
    "coding agents": ("workflow=multi_agent_coding", "load.num_workflows=2", "engine.max_num_seqs=16"),
    "composite": ("workflow=composite", "load.num_workflows=49", "engine.max_num_seqs=16"),
}
INTERVALS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 1e9)


def main() -> None:
    """Measure every case with every method, and keep it."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", type=int, default=3, help="GPUs and sensors drawn for each case")
    asked.add_argument("--only", default="", help="cases whose names begin so")
    asked.add_argument("--keep", action="store_true", help="keep the results beside the benchmarks")
    given = asked.parse_args()
    cases = [
        _measured(name, overrides, seed, strange=strange)
        for name, overrides in CASES.items()
        if name.startswith(given.only)
        for strange in (False, True)
        for seed in range(given.seeds)
    ]
    found = {"date": today(), "machine": machine(), "method": METHOD, "interval_s": INTERVAL_S, "cases": cases}
    if given.keep:
        write_results("attribution_error", found)


def _measured(name: str, overrides: tuple[str, ...], seed: int, *, strange: bool) -> dict[str, Any]:
    case = hidden(*overrides, sensor=Sensor(seed=seed), factors=drawn_factors(seed), strange=strange)
    ours, facts = _ours(case, INTERVAL_S)
    intervals = {f"{interval_s:g}": errors(case, _ours(case, interval_s)[0]) for interval_s in INTERVALS_S}
    requests = Columns(case.shown["requests"])
    busy_j = float((case.prefill_j + case.decode_j).sum())
    methods: Mapping[str, Callable[[Columns, float], Division]] = {
        "output tokens": by_output_tokens,
        "tokens": by_tokens,
        "time": by_time,
    }
    found = {"ours": errors(case, ours)} | {
        peer: errors(case, method(requests, busy_j)) for peer, method in methods.items()
    }
    line = "  ".join(f"{method} {_line(error)}" for method, error in found.items())
    print(
        f"{name}{', strange' * strange} #{seed} n={len(requests)} {facts}\n   {line}\n   by interval: ",
        flush=True,
        end="",
    )
    print("  ".join(f"{key}: {_line(error)}" for key, error in intervals.items()), flush=True)
    return {
        "case": name,
        "seed": seed,
        "strange": strange,
        "requests": len(requests),
        "methods": found,
        "intervals": intervals,
        **facts,
    }


def _line(error: Mapping[str, float]) -> str:
    return " ".join(f"{100 * value:.1f}" for value in error.values())


def _ours(case: Hidden, interval_s: float) -> tuple[Division, dict[str, float]]:
    found = attribute(case.cell, case.shown, interval_s=interval_s)
    assert found is not None
    facts = {"residual_ratio": found.residual_ratio, "misfit_ratio": found.misfit_ratio}
    return (found.requests.prefill_j, found.requests.decode_j), facts


def errors(case: Hidden, division: Division) -> dict[str, float]:
    """Relative errors: of a request (median, 95th percentile), of all prefill, of all decode."""
    truth_j = case.prefill_j + case.decode_j
    off: Floats = np.abs((division[0] + division[1]) / truth_j - 1)
    return {
        "median": float(np.median(off)),
        "p95": float(np.percentile(off, 95)),
        "prefill": float(division[0].sum() / case.prefill_j.sum() - 1),
        "decode": float(division[1].sum() / case.decode_j.sum() - 1),
    }


if __name__ == "__main__":
    main()
