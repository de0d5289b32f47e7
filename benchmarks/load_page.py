"""docs/load_generator.md, from the results that are kept."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.kept import read_results
from benchmarks.paired_difference import paired_difference
from benchmarks.send_delay import BOUND_MS, Level

PAGE = Path(__file__).parent.parent / "docs" / "load_generator.md"
_WORDS = {
    "mean_ttft_ms": "mean TTFT, ms",
    "mean_tpot_ms": "mean TPOT, ms",
    "output_throughput": "output throughput, tokens/s",
}


def page(agreement: dict[str, Any] | None, ceiling: dict[str, Any] | None) -> str:
    """The page as Markdown, with what has been measured."""
    parts = [_HEAD]
    if agreement is not None:
        parts.append(_agreement(agreement))
    if ceiling is not None:
        parts.append(_ceiling(ceiling))
    if len(parts) == 1:
        parts.append("Neither has been measured on a quiet machine yet.")
    return "\n\n".join(parts) + "\n"


_HEAD = """# The load generator

A benchmark measures its client as well as its server. Two questions, asked beside `vllm bench serve`: do both see the
same server, and how many requests a second can either send on time? Raw results are in `benchmarks/results/`."""


def _agreement(found: dict[str, Any]) -> str:
    rows = []
    for metric, words in _WORDS.items():
        runs = [(pair["ours"][metric], pair["theirs"][metric]) for pair in found["pairs"]]
        ours, theirs = (sum(values) / len(runs) for values in zip(*runs, strict=True))
        known = paired_difference(runs)
        verdict = " | ".join("yes" if true else "no" for true in (known.is_within(), known.is_seen))
        rows.append(
            f"| {words} | {ours:.4g} | {theirs:.4g} | {known.difference:+.2%} | ± {known.half_width:.2%} | {verdict} |"
        )
    return f"""## Agreement

`python -m benchmarks.agreement`, {found["date"]}. One `vllm serve` on the CPU: a Llama shape of 136 million parameters,
random weights (with a smaller one a token takes 3 ms, and what a client costs the cores it shares with the server
shows). One file of {found["requests"]} requests: text, on average {found["prompt_tokens"]} prompt tokens and
{found["output_tokens"]} output tokens; {found["rate"]:g} requests a second at constant gaps, temperature 0,
`ignore_eos`. {len(found["pairs"])} pairs, who begins alternates, after a run of either that is not kept.
Differences are means over the pairs with their 95 % t interval: *within 5 %* if all of the interval is, *seen* if it
leaves out zero.

Machine: {found["machine"]}.

| | `engine=openai` | `vllm bench serve` | difference | 95 % interval | within 5 % | a difference is seen |
|---|---|---|---|---|---|---|
""" + "\n".join(rows)


def _ceiling(found: dict[str, Any]) -> str:
    by_rate: dict[float, dict[str, list[Level]]] = defaultdict(lambda: defaultdict(list))
    for plain in found["levels"]:
        by_rate[plain["rate"]][plain["client"]].append(Level(**plain))
    clients = ("joulegrid", "vllm bench serve")
    rows = [
        f"| {rate:g} | " + " | ".join(_delays(levels[name]) for name in clients) + " |"
        for rate, levels in by_rate.items()
    ]
    median_run, best_run = (_reached(by_rate, clients, of) for of in (median, min))
    summary = (
        f"On time (p99 below {BOUND_MS:g} ms) in the median run: up to **{median_run[0]:g}** requests a second, "
        f"against **{median_run[1]:g}**; in the best run, {best_run[0]:g} against {best_run[1]:g}."
    )
    return f"""## Ceiling

`python -m benchmarks.client_ceiling`, {found["date"]}. A null server in a process of its own answers a streamed
completion of one token at once and stamps when the request arrived; over bare sockets it answers
{found["server_ceiling"]:,.0f} requests a second. Requests are due at constant gaps; the origin of the schedule is taken
where a client looks best, at its promptest request, for both alike. Runs of {found["seconds"]:g} s, the clients take
turns. `vllm bench serve` is the one in Python, its default.

Machine: {found["machine"]}.

Send delay at the 99th percentile, ms: median over the runs at a rate, and the best and worst in brackets.

| requests/s | `engine=openai` | `vllm bench serve` |
|---|---|---|
""" + "\n".join([*rows, "", summary])


def _reached(
    by_rate: Mapping[float, Mapping[str, list[Level]]], clients: Sequence[str], of: Callable[[list[float]], float]
) -> list[float]:
    """The highest rate that each client kept, by the median or the best of its runs; 0 if none."""
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
