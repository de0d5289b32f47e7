"""``python -m benchmarks.lane_overhead``: a cell on a lane beside a bare ``AsyncLLM`` loop on the same requests.

On the CPU, with a tiny model. The lane's engine records every iteration. How they compete: `benchmarks.lane_contest`.
"""

import argparse
from typing import Any

from benchmarks.kept import read_results, write_results
from benchmarks.lane_contest import contest_cells, contest_rows, lane_contest
from benchmarks.machine import machine, today
from benchmarks.section import write_section


def main() -> None:
    """Run the rounds, say the ratios, and keep what was measured."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=8)
    asked.add_argument("--requests", type=int, default=96)
    asked.add_argument("--users", type=int, default=8)
    asked.add_argument("--prompt-tokens", type=int, default=128)
    asked.add_argument("--output-tokens", type=int, default=64)
    given = asked.parse_args()
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
    """Write the section of docs/lanes.md from the results that are kept."""
    found = read_results("lane_overhead")
    assert found is not None
    write_section("lanes.md", "What a lane costs", overhead_section(found))


def overhead_section(found: dict[str, Any]) -> str:
    """The section as Markdown."""
    lengths = f"{found['prompt_tokens']} prompt and {found['output_tokens']} output tokens"
    return f"""`python -m benchmarks.lane_overhead`, {found["date"]}: vLLM on the CPU, a tiny Llama shape, each
contender on an engine loaded once; {found["requests"]} requests of {lengths} by
{found["users"]} users a run, {len(found["rounds"])} rounds, the contenders take turns. The lanes' engine records every
iteration of its scheduler, the bare loop's does not. Ratios are geometric means over the rounds. A step of a Ray graph
costs some 6 ms of processor time beside the engine, once a request; on two cores that all of them share it shows when
requests are as short as these.

Machine: {found["machine"]}.

| | output tokens/s, median | over the bare loop | 95 % t interval |
|---|---|---|---|
""" + "\n".join(contest_rows(found["rounds"]))


if __name__ == "__main__":
    main()
