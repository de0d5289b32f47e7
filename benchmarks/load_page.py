"""Write docs/load_generator.md from the stored results."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load_statistics import BOUND_MS, Level, paired_difference
from benchmarks.result_files import read_results

PAGE = Path(__file__).parent.parent / "docs" / "load_generator.md"
_WORDS = {
    "mean_ttft_ms": "mean TTFT, ms",
    "mean_tpot_ms": "mean TPOT, ms",
    "output_throughput": "output throughput, tokens/s",
}


def page(agreement: dict[str, Any] | None, ceiling: dict[str, Any] | None) -> str:
    """Return the page as Markdown, with a section for each result that exists."""
    parts = [_HEAD]
    if agreement is not None:
        parts.append(_agreement(agreement))
    if ceiling is not None:
        parts.append(_ceiling(ceiling))
    if len(parts) == 1:
        parts.append("Neither has been measured on a quiet machine yet.")
    return "\n\n".join(parts) + "\n"


_HEAD = """# The load generator

A benchmark measures its client as well as its server. This page compares our client with `vllm bench serve`:

- *Agreement*: do both clients measure the same values on the same server?
- *Ceiling*: how many requests per second can each client send on time?

Raw results are in `benchmarks/results/`."""


def _agreement(results: dict[str, Any]) -> str:
    rows = []
    for metric, words in _WORDS.items():
        runs = [(pair["ours"][metric], pair["theirs"][metric]) for pair in results["pairs"]]
        ours, theirs = (sum(values) / len(runs) for values in zip(*runs, strict=True))
        pair = paired_difference(runs)
        verdict = " | ".join("yes" if true else "no" for true in (pair.is_within(), pair.is_seen))
        rows.append(
            f"| {words} | {ours:.4g} | {theirs:.4g} | {pair.difference:+.2%} | ± {pair.half_width:.2%} | {verdict} |"
        )
    return f"""## Agreement

`python -m benchmarks.agreement`, {results["date"]}. The set-up:

- Server: one `vllm serve` on the CPU, a Llama shape of 136 million parameters with random weights. With a smaller shape
  a token takes 3 ms, and the CPU time of the client, which shares the server's cores, becomes visible.
- Load: one file of {results["requests"]} text requests, on average {results["prompt_tokens"]} prompt tokens and
  {results["output_tokens"]} output tokens, {results["rate"]:g} requests per second at constant gaps,
  temperature 0, `ignore_eos`.
- Runs: {len(results["pairs"])} pairs, in alternating order, after one discarded run of each client.

Differences are means over the pairs with their 95 % t interval. *Within 5 %* means that the whole interval is. A
difference is *seen* if the interval excludes zero.

Machine: {results["machine"]}.

| | `engine=openai` | `vllm bench serve` | difference | 95 % interval | within 5 % | a difference is seen |
|---|---|---|---|---|---|---|
""" + "\n".join(rows)


def _ceiling(results: dict[str, Any]) -> str:
    by_rate: dict[float, dict[str, list[Level]]] = defaultdict(lambda: defaultdict(list))
    for plain in results["levels"]:
        by_rate[plain["rate"]][plain["client"]].append(Level(**plain))
    clients = ("joulegrid", "vllm bench serve")
    rows = [
        f"| {rate:g} | " + " | ".join(_delays(levels[name]) for name in clients) + " |"
        for rate, levels in by_rate.items()
    ]
    median_run, best_run = (_reached(by_rate, clients, of) for of in (median, min))
    summary = (
        f"On time (p99 below {BOUND_MS:g} ms) in the median run: up to **{median_run[0]:g}** requests per second, "
        f"against **{median_run[1]:g}**; in the best run, {best_run[0]:g} against {best_run[1]:g}."
    )
    return f"""## Ceiling

`python -m benchmarks.client_ceiling`, {results["date"]}. A null server in its own process immediately answers
each request with a streamed completion of one token, and records when the request arrived. Over bare sockets it answers
{results["server_ceiling"]:,.0f} requests per second. Requests are due at constant gaps. For each client, the origin of
the schedule is its most punctual request, which is the best case for the client. The clients take turns, in runs of
{results["seconds"]:g} s. `vllm bench serve` is its default version in Python.

Machine: {results["machine"]}.

Send delay at the 99th percentile, ms: the median over the runs at a rate, with the best and worst in brackets.

| requests/s | `engine=openai` | `vllm bench serve` |
|---|---|---|
""" + "\n".join([*rows, "", summary])


def _reached(
    by_rate: Mapping[float, Mapping[str, list[Level]]], clients: Sequence[str], of: Callable[[list[float]], float]
) -> list[float]:
    """Return the highest rate that each client sustained, by the median or the best of its runs; 0 if none."""
    kept = {client: [0.0] for client in clients}
    for rate, levels in by_rate.items():
        for client in clients:
            delays_ms = [level.p99_delay_ms for level in levels.get(client, ())]
            if delays_ms and of(delays_ms) < BOUND_MS:
                kept[client].append(rate)
    return [max(rates) for rates in kept.values()]


def _delays(levels: list[Level]) -> str:
    if not levels:
        return "not run"
    delays_ms = sorted(level.p99_delay_ms for level in levels)
    return f"{median(delays_ms):.3g} ({delays_ms[0]:.3g} to {delays_ms[-1]:.3g})"


def write_page() -> None:
    """Write the page."""
    PAGE.write_text(page(read_results("agreement"), read_results("client_ceiling")))
    print(PAGE)
