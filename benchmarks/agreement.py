"""``python -m benchmarks.agreement``: one server and one file of requests, measured by ``vllm bench serve`` and by us.

Both send the same texts in the same order at the same constant gaps, and take turns; who begins alternates. What counts
is the mean paired difference of a metric and its 95 % interval.
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
from benchmarks.kept import write_results
from benchmarks.load_page import write_page
from benchmarks.machine import machine, today
from benchmarks.paired_difference import paired_difference
from benchmarks.quiet import wait_until_quiet
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
"""Large enough that what a client costs the two cores it shares with the server is small beside a token."""


def main() -> None:
    """Run the pairs, say how far they agree, and keep what was measured."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--pairs", type=int, default=8)
    asked.add_argument("--requests", type=int, default=24)
    asked.add_argument("--rate", type=float, default=1.0, help="requests/s; well below what the server can do")
    asked.add_argument("--prompt-tokens", type=int, default=256, help="on average; a quarter more or less")
    asked.add_argument("--output-tokens", type=int, default=24, help="on average; a quarter more or less")
    asked.add_argument("--patience", type=float, default=10.0, help="seconds to wait for an idle machine before a run")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder, **SHAPE)
        path = folder / "requests.jsonl"
        path.write_text(_requests(given.requests, given.prompt_tokens, given.output_tokens, model.vocab_size))
        with tiny_server(folder) as base_url:
            pairs = _pairs(Runs(base_url, path, folder, given.rate, given.requests, given.patience), given.pairs)
    found = {
        "date": today(),
        "machine": machine(),
        "requests": given.requests,
        "rate": given.rate,
        "prompt_tokens": given.prompt_tokens,
        "output_tokens": given.output_tokens,
        "pairs": pairs,
    }
    write_results("agreement", found)
    write_page()
    for metric in METRICS:
        print(metric, paired_difference([(pair["ours"][metric], pair["theirs"][metric]) for pair in pairs]))


@dataclass(frozen=True, slots=True)
class Runs:
    """How either client runs: the server, the file, the folder of the tokenizer, requests a second and in all."""

    base_url: str
    path: Path
    tokenizer: Path
    rate: float
    n: int
    patience_s: float

    def run(self, name: str) -> dict[str, float]:
        """Run a client once; its metrics."""
        wait_until_quiet(self.patience_s)
        if name == "ours":
            found = whole_run(ours(self.base_url, self.path, rate=self.rate, n=self.n, prompts="text"))
        else:
            found = _of(theirs(self.base_url, self.path, rate=self.rate, n=self.n, tokenizer=self.tokenizer))
        print(name, found, f"load average {psutil.getloadavg()[0]:.1f}", flush=True)
        return found


def _pairs(runs: Runs, n_pairs: int) -> list[dict[str, dict[str, float]]]:
    """The pairs, each in the order in which it was measured; a run of each before them warms up and is not kept."""
    for name in ("theirs", "ours"):
        runs.run(name)
    orders = [("ours", "theirs") if k % 2 == 0 else ("theirs", "ours") for k in range(n_pairs)]
    return [{name: runs.run(name) for name in order} for order in orders]


def whole_run(found: Mapping[str, Any]) -> dict[str, float]:
    """``vllm bench serve`` divides by the time from the start to the last answer; so does this.

    Raises:
        SystemExit: the cell is not ok, and so must not be compared.
    """
    if found["status"] != "ok":
        raise SystemExit(f"our cell is {found['status']}: {', '.join(found['reasons'])}")
    return _of({**found, "output_throughput": found["whole_output_throughput"]})


def _of(found: Mapping[str, Any]) -> dict[str, float]:
    return {metric: found[metric] for metric in METRICS}


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
