"""``python -m benchmarks.attribution_error``: the error of attributed energies against a truth that is hidden.

The cells are simulated, their sensors are modelled (`benchmarks.played_sensor`), and the power of their GPUs differs
from what the method assumes. Other methods divide the same energy for comparison: that of the busy time only, which
most of them do not know in practice.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.attribution_truth import Hidden, drawn_factors, hidden
from benchmarks.machine import machine, today
from benchmarks.played_sensor import Counter, Sensor
from benchmarks.result_files import read_results, write_results
from orchestrator.attribution.attribute import INTERVAL_S, METHOD, Attribution, attribute
from orchestrator.attribution.energy_model import Fit
from orchestrator.measure.columns import Columns, Floats

Division = tuple[Floats, Floats]
"""Energy of each request's prefill and decode; 0 for the prefill if a method has none. Units: J."""


def by_output_tokens(requests: Columns, energy_j: float) -> Division:
    """Divide by output tokens, as the ML.ENERGY benchmark (arXiv 2505.06371), aiperf and others do."""
    tokens = requests.floats("output_tokens")
    return np.zeros(len(tokens)), energy_j * tokens / tokens.sum()


def by_tokens(requests: Columns, energy_j: float) -> Division:
    """Divide by all tokens, of prompt and output, after idle power is subtracted."""
    prompt = requests.floats("prompt_tokens") - requests.floats("cached_tokens")
    output = requests.floats("output_tokens")
    each_j = energy_j / (prompt + output).sum()
    return each_j * prompt, each_j * output


def by_time(requests: Columns, energy_j: float) -> Division:
    """Divide power equally among the requests in flight at each instant; prefill ends at the first token.

    Profilers divide a device among processes in this way. The power is the mean of the window.
    """
    names = ("scheduled_s", "first_token_s", "finished_s")
    scheduled_s, first_s, finished_s = (requests.floats(name) for name in names)
    edges_s = np.unique(np.concatenate([scheduled_s, finished_s, first_s]))
    active = np.searchsorted(np.sort(scheduled_s), edges_s[:-1], side="right") - np.searchsorted(
        np.sort(finished_s), edges_s[:-1], side="right"
    )
    lengths_s = np.diff(edges_s)
    share_s = np.concatenate([[0.0], np.cumsum(lengths_s / np.maximum(active, 1))])
    at = [np.interp(t_s, edges_s, share_s) for t_s in (scheduled_s, first_s, finished_s)]
    watts = energy_j / lengths_s[active > 0].sum()
    return watts * (at[1] - at[0]), watts * (at[2] - at[1])


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
_METHODS = {
    "assumed rates": "assumed rates",
    "sliced": "readings split equally",
    "time": "by time in flight",
    "output tokens": "by output tokens",
    "tokens": "by all tokens",
}
"""Columns of the table, after those of our method."""

INTERVALS_S = (0.1, 0.5, 2.0, 10.0, 1e9)
COUNTERS: tuple[Counter, ...] = ("exact", "sampled")


def main() -> None:
    """Measure every case with every method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="GPUs and sensors drawn for each case")
    parser.add_argument("--only", default="", help="only cases whose names start with this")
    parser.add_argument("--keep", action="store_true", help="store the results in benchmarks/results")
    parser.add_argument("--table", action="store_true", help="only print the table of the stored results")
    given = parser.parse_args()
    if given.table:
        stored = read_results("attribution_error")
        if stored is None:
            sys.exit("no stored results: run with --keep first")
        print(table(stored))
        return
    settings = itertools.product(CASES, COUNTERS, (False, True), range(given.seeds))
    cases = [
        measured(name, counter, strange=strange, seed=seed)
        for name, counter, strange, seed in settings
        if name.startswith(given.only)
    ]
    if given.keep:
        results = {"date": today(), "machine": machine(), "method": METHOD, "interval_s": INTERVAL_S, "cases": cases}
        write_results("attribution_error", results)


def measured(name: str, counter: Counter, *, strange: bool, seed: int) -> dict[str, Any]:
    """Return the errors of every method for a case on one GPU with one sensor, and print them."""
    sensor = Sensor(seed=seed, counter=counter)
    case = hidden(*CASES[name], sensor=sensor, factors=drawn_factors(seed), strange=strange)
    requests = Columns(case.shown["requests"])
    busy_j = float((case.prefill_j + case.decode_j).sum())
    methods = {"ours": errors(case, _ours(case)), **_variants(case)}
    methods |= {peer: errors(case, method(requests, busy_j)) for peer, method in PEERS.items()}
    line = " | ".join(f"{method} {_line(error)}" for method, error in methods.items())
    print(f"{name}, {counter} counter{', strange' * strange} #{seed}: {line}", flush=True)
    return {
        "case": name,
        "counter": counter,
        "strange": strange,
        "seed": seed,
        "requests": len(requests),
        "methods": methods,
        "intervals": {f"{interval_s:g}": errors(case, _ours(case, interval_s)) for interval_s in INTERVALS_S},
        "residual_ratio": _attributed(case).residual_ratio,
        "misfit_ratio": _attributed(case).misfit_ratio,
    }


def _line(error: Mapping[str, float]) -> str:
    return " ".join(f"{100 * value:.1f}" for value in error.values())


def _ours(case: Hidden, interval_s: float = INTERVAL_S) -> Division:
    requests = _attributed(case, interval_s).requests
    return requests.prefill_j, requests.decode_j


def _attributed(case: Hidden, interval_s: float = INTERVAL_S) -> Attribution:
    attribution = attribute(case.cell, case.shown, interval_s=interval_s)
    assert attribution is not None
    return attribution


def _variants(case: Hidden) -> dict[str, dict[str, float]]:
    """Return errors of simplified methods: with assumed rates, and with readings split equally without a model."""

    def assumed(work: Floats, energy_j: Floats, rates: Floats) -> Fit:
        return Fit(rates=rates, misfit_ratio=0.0)

    def time_only(work: Floats, energy_j: Floats, rates: Floats) -> Fit:
        return Fit(rates=rates * np.array([5.0, 0.0, 0.0, 0.0]), misfit_ratio=0.0)

    variants = {}
    for name, fit, interval_s in (("assumed rates", assumed, INTERVAL_S), ("sliced", time_only, 0.0)):
        with mock.patch("orchestrator.attribution.energy_model.fitted_rates", fit):
            variants[name] = errors(case, _ours(case, interval_s))
    return variants


def errors(case: Hidden, division: Division) -> dict[str, float]:
    """Return relative errors: of a request (median, 95th percentile), of all prefill, and of all decode."""
    truth_j = case.prefill_j + case.decode_j
    off: Floats = np.abs((division[0] + division[1]) / truth_j - 1)
    values = {
        "median": np.median(off),
        "p95": np.percentile(off, 95),
        "prefill": division[0].sum() / case.prefill_j.sum() - 1,
        "decode": division[1].sum() / case.decode_j.sum() - 1,
    }
    return {name: round(float(value), 5) for name, value in values.items()}


def table(results: Mapping[str, Any]) -> str:
    """Return the table of docs/method.md, a row per case: mean over its GPUs and sensors, and the worst in brackets."""
    head = (
        "| cell | requests | a request: median error | 95th percentile | prefill | decode | "
        + " | ".join(_METHODS.values())
        + " |\n|---|---|---|---|---|---|"
        + "---|" * len(_METHODS)
    )
    names = dict.fromkeys(case["case"] for case in results["cases"])
    rows = [_row(name, [case for case in results["cases"] if case["case"] == name]) for name in names]
    return "\n".join([head, *rows])


def _row(name: str, cases: Sequence[Mapping[str, Any]]) -> str:
    ours = [_percent(case["methods"]["ours"][key] for case in cases) for key in ("median", "p95", "prefill", "decode")]
    peers = [_percent(case["methods"][peer]["median"] for case in cases) for peer in _METHODS]
    return f"| {name} | {cases[0]['requests']} | " + " | ".join([*ours, *peers]) + " |"


def _percent(errors: Iterable[float]) -> str:
    sizes = 100 * np.abs(list(errors))
    return f"{np.mean(sizes):.1f} % ({np.max(sizes):.1f})"


if __name__ == "__main__":
    main()
