"""``python -m benchmarks.attribution_error``: how far attributed energies are off a truth that the method cannot see.

Simulated cells, played sensors (`benchmarks.played_sensor`), GPUs whose power is not what the method assumes; beside it
how others divide the same energy (`benchmarks.attribution_peers`).
"""

import argparse
import itertools
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.attribution_peers import Division, by_output_tokens, by_time, by_tokens
from benchmarks.attribution_truth import Hidden, drawn_factors, hidden
from benchmarks.kept import write_results
from benchmarks.machine import machine, today
from benchmarks.played_sensor import Counter, Sensor
from orchestrator.attribution.attribute import INTERVAL_S, METHOD, Attribution, attribute
from orchestrator.attribution.energy_model import Fit
from orchestrator.measure.columns import Columns, Floats

PEERS: Mapping[str, Callable[[Columns, float], Division]] = {
    "output tokens": by_output_tokens,
    "tokens": by_tokens,
    "time": by_time,
}
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
INTERVALS_S = (0.1, 0.5, 2.0, 10.0, 1e9)
COUNTERS: tuple[Counter, ...] = ("exact", "sampled")


def main() -> None:
    """Measure every case with every method, and keep it."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", type=int, default=3, help="GPUs and sensors drawn for each case")
    asked.add_argument("--only", default="", help="cases whose names begin so")
    asked.add_argument("--keep", action="store_true", help="keep the results beside the benchmarks")
    given = asked.parse_args()
    settings = itertools.product(CASES, COUNTERS, (False, True), range(given.seeds))
    cases = [
        measured(name, counter, strange=strange, seed=seed)
        for name, counter, strange, seed in settings
        if name.startswith(given.only)
    ]
    if given.keep:
        found = {"date": today(), "machine": machine(), "method": METHOD, "interval_s": INTERVAL_S, "cases": cases}
        write_results("attribution_error", found)


def measured(name: str, counter: Counter, *, strange: bool, seed: int) -> dict[str, Any]:
    """A case on one GPU with one sensor: errors of every method, told in a line, too."""
    sensor = Sensor(seed=seed, counter=counter)
    case = hidden(*CASES[name], sensor=sensor, factors=drawn_factors(seed), strange=strange)
    requests = Columns(case.shown["requests"])
    busy_j = float((case.prefill_j + case.decode_j).sum())
    found = {"ours": errors(case, _ours(case)), **_variants(case)}
    found |= {peer: errors(case, method(requests, busy_j)) for peer, method in PEERS.items()}
    told = " | ".join(f"{method} {_line(error)}" for method, error in found.items())
    print(f"{name}, {counter} counter{', strange' * strange} #{seed}: {told}", flush=True)
    return {
        "case": name,
        "counter": counter,
        "strange": strange,
        "seed": seed,
        "requests": len(requests),
        "methods": found,
        "intervals": {f"{interval_s:g}": errors(case, _ours(case, interval_s)) for interval_s in INTERVALS_S},
        "residual_ratio": _attributed(case).residual_ratio,
        "misfit_ratio": _attributed(case).misfit_ratio,
    }


def _line(error: Mapping[str, float]) -> str:
    return " ".join(f"{100 * value:.1f}" for value in error.values())


def _ours(case: Hidden, interval_s: float = INTERVAL_S) -> Division:
    found = _attributed(case, interval_s)
    return found.requests.prefill_j, found.requests.decode_j


def _attributed(case: Hidden, interval_s: float = INTERVAL_S) -> Attribution:
    found = attribute(case.cell, case.shown, interval_s=interval_s)
    assert found is not None
    return found


def _variants(case: Hidden) -> dict[str, dict[str, float]]:
    """Less than the method: with the rates that are assumed, and with readings cut up equally, which needs no model."""

    def assumed(work: Floats, energy_j: Floats, rates: Floats) -> Fit:
        return Fit(rates=rates, misfit_ratio=0.0)

    def time_only(work: Floats, energy_j: Floats, rates: Floats) -> Fit:
        return Fit(rates=rates * np.array([5.0, 0.0, 0.0, 0.0]), misfit_ratio=0.0)

    found = {}
    for name, fit, interval_s in (("assumed rates", assumed, INTERVAL_S), ("sliced", time_only, 0.0)):
        with mock.patch("orchestrator.attribution.energy_model.fitted_rates", fit):
            found[name] = errors(case, _ours(case, interval_s))
    return found


def errors(case: Hidden, division: Division) -> dict[str, float]:
    """Relative errors: of a request (median, 95th percentile), of all prefill, of all decode."""
    truth_j = case.prefill_j + case.decode_j
    off: Floats = np.abs((division[0] + division[1]) / truth_j - 1)
    found = {
        "median": np.median(off),
        "p95": np.percentile(off, 95),
        "prefill": division[0].sum() / case.prefill_j.sum() - 1,
        "decode": division[1].sum() / case.decode_j.sum() - 1,
    }
    return {name: round(float(value), 5) for name, value in found.items()}


if __name__ == "__main__":
    main()
