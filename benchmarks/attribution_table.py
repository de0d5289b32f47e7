"""Write the attribution table of docs/method.md from the results of `benchmarks.attribution_error`."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.result_files import read_results

PEERS = {
    "assumed rates": "assumed rates",
    "sliced": "readings split equally",
    "time": "by time in flight",
    "output tokens": "by output tokens",
    "tokens": "by all tokens",
}


def table(results: Mapping[str, Any]) -> str:
    """Return one row per case: the mean over the GPUs and sensors drawn for it, with the worst in brackets."""
    head = (
        "| cell | requests | a request: median error | 95th percentile | prefill | decode | "
        + " | ".join(PEERS.values())
        + " |\n|---|---|---|---|---|---|"
        + "---|" * len(PEERS)
    )
    names = dict.fromkeys(case["case"] for case in results["cases"])
    rows = [_row(name, [case for case in results["cases"] if case["case"] == name]) for name in names]
    return "\n".join([head, *rows])


def _row(name: str, cases: Sequence[Mapping[str, Any]]) -> str:
    ours = [_percent(case["methods"]["ours"][key] for case in cases) for key in ("median", "p95", "prefill", "decode")]
    peers = [_percent(case["methods"][peer]["median"] for case in cases) for peer in PEERS]
    return f"| {name} | {cases[0]['requests']} | " + " | ".join([*ours, *peers]) + " |"


def _percent(errors: Iterable[float]) -> str:
    sizes = 100 * np.abs(list(errors))
    return f"{np.mean(sizes):.1f} % ({np.max(sizes):.1f})"


if __name__ == "__main__":
    results = read_results("attribution_error")
    assert results is not None, "run `python -m benchmarks.attribution_error` first"
    sys.stdout.write(table(results) + "\n")
