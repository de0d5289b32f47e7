"""``python -m benchmarks.agreement``: compare our metrics of one server with those of ``vllm bench serve``.

Both send the same texts in the same order at the same constant gaps. They run in pairs whose order alternates. The
result is the mean paired difference of each metric with its 95 % interval.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contenders import ours, theirs
from benchmarks.load_page import write_page
from benchmarks.load_statistics import paired_difference
from benchmarks.machine import machine, today, wait_until_quiet
from benchmarks.result_files import write_results
from benchmarks.tiny_server import tiny_server, write_model

METRICS = ("mean_ttft_ms", "mean_tpot_ms", "output_throughput")
SHAPE = {
    "num_hidden_layers": 6,
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 64,
}
"""Large enough that the CPU time of a client, which shares two cores with the server, is small against a token."""


def main() -> None:
    """Run the pairs, print their differences, and store the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--requests", type=int, default=24)
    parser.add_argument("--rate", type=float, default=1.0, help="requests/s; well below the capacity of the server")
    parser.add_argument("--prompt-tokens", type=int, default=256, help="on average, ± 25 %%")
    parser.add_argument("--output-tokens", type=int, default=24, help="on average, ± 25 %%")
    parser.add_argument("--patience", type=float, default=10.0, help="longest wait for an idle machine, in s")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder, **SHAPE)
        path = folder / "requests.jsonl"
        path.write_text(_requests(given.requests, given.prompt_tokens, given.output_tokens, model.vocab_size))
        with tiny_server(folder) as base_url:
            pairs = _pairs(Runs(base_url, path, folder, given.rate, given.requests, given.patience), given.pairs)
    results = {
        "date": today(),
        "machine": machine(),
        "requests": given.requests,
        "rate": given.rate,
        "prompt_tokens": given.prompt_tokens,
        "output_tokens": given.output_tokens,
        "pairs": pairs,
    }
    write_results("agreement", results)
    write_page()
    for metric in METRICS:
        print(metric, paired_difference([(pair["ours"][metric], pair["theirs"][metric]) for pair in pairs]))


@dataclass(frozen=True, slots=True)
class Runs:
    """Settings of all runs: server, file, folder of the tokenizer, requests per second, and number of requests."""

    base_url: str
    path: Path
    tokenizer: Path
    rate: float
    n: int
    quiet_timeout_s: float

    def run(self, name: str) -> dict[str, float]:
        """Run a client once and return its metrics."""
        wait_until_quiet(self.quiet_timeout_s)
        if name == "ours":
            metrics = whole_run(ours(self.base_url, self.path, rate=self.rate, n=self.n, prompts="text"))
        else:
            metrics = _selected(theirs(self.base_url, self.path, rate=self.rate, n=self.n, tokenizer=self.tokenizer))
        print(name, metrics, f"load average {psutil.getloadavg()[0]:.1f}", flush=True)
        return metrics


def _pairs(runs: Runs, n_pairs: int) -> list[dict[str, dict[str, float]]]:
    """Return the pairs, each in its order of measurement; one run of each client before them is discarded."""
    for name in ("theirs", "ours"):
        runs.run(name)
    orders = [("ours", "theirs") if k % 2 == 0 else ("theirs", "ours") for k in range(n_pairs)]
    return [{name: runs.run(name) for name in order} for order in orders]


def whole_run(cell: Mapping[str, Any]) -> dict[str, float]:
    """Return our metrics with the throughput from the start to the last answer, as ``vllm bench serve`` defines it.

    Raises:
        SystemExit: the cell is not ok.
    """
    if cell["status"] != "ok":
        raise SystemExit(f"our cell is {cell['status']}: {', '.join(cell['reasons'])}")
    return _selected({**cell, "output_throughput": cell["whole_output_throughput"]})


def _selected(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {metric: metrics[metric] for metric in METRICS}


def _requests(n: int, prompt_tokens: int, output_tokens: int, vocab_size: int) -> str:
    draw = random.Random(0)
    lines = []
    for _ in range(n):
        n_prompt = draw.randint(prompt_tokens * 3 // 4, prompt_tokens * 5 // 4)
        text = " ".join(f"w{draw.randrange(1, vocab_size)}" for _ in range(n_prompt))
        n_output = draw.randint(output_tokens * 3 // 4, output_tokens * 5 // 4)
        lines.append(json.dumps({"prompt": text, "prompt_tokens": n_prompt, "output_tokens": n_output}) + "\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
