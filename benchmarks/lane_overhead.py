"""``python -m benchmarks.lane_overhead``: compare a cell on a lane with a bare ``AsyncLLM`` loop on the CPU.

The model is tiny, and the lane's engine records every iteration. `benchmarks.lane_contest` has the rules.
"""

import argparse
from typing import Any

from benchmarks.lane_contest import contest_cells, contest_rows, lane_contest
from benchmarks.machine import machine, today
from benchmarks.result_files import read_results, write_results, write_section


def main() -> None:
    """Run the rounds, store the results, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=64)
    given = parser.parse_args()
    cells = contest_cells(
        "engine=vllm",
        "model=tiny_llama",
        "hardware=cpu",
        "collectors=none",
        "workflow=token_grid",
        f"workflow.prompt_tokens.tokens={given.prompt_tokens}",
        f"workflow.output_tokens.tokens={given.output_tokens}",
        f"load.users={given.users}",
        f"load.num_workflows={given.requests}",
    )
    with lane_contest(cells) as contest:
        contest.run(given.rounds)
    write_results("lane_overhead", {"date": today(), "machine": machine(), **vars(given), "rounds": contest.rounds})
    write_overhead()


def write_overhead() -> None:
    """Write the section of docs/lanes.md from the stored results."""
    results = read_results("lane_overhead")
    assert results is not None
    write_section("lanes.md", "What a lane costs", overhead_section(results))


def overhead_section(results: dict[str, Any]) -> str:
    """Return the section as Markdown."""
    lengths = f"{results['prompt_tokens']} prompt and {results['output_tokens']} output tokens"
    return f"""`python -m benchmarks.lane_overhead`, {results["date"]}: vLLM on the CPU, a tiny Llama shape, each
contender on an engine loaded once; {results["requests"]} requests of {lengths} by
{results["users"]} users a run, {len(results["rounds"])} rounds, the contenders take turns. The lanes' engine
records every iteration of its scheduler, the bare loop's does not. Ratios are geometric means over the rounds.
A step of a Ray graph costs about 6 ms of CPU time per request. It is visible here because the requests are short and
all processes share two cores.

Machine: {results["machine"]}.

| | output tokens/s, median | over the bare loop | 95 % t interval |
|---|---|---|---|
""" + "\n".join(contest_rows(results["rounds"]))


if __name__ == "__main__":
    main()
