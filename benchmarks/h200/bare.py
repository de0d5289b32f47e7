"""``python -m benchmarks.h200.bare --out DIR``: a cell on a lane beside a bare ``AsyncLLM`` loop on the same GPU.

Both engines are there at once, each with less than half of the GPU's memory; while one is asked the other rests. The
lane's cells are sampled. DIR gets ``bare.json``, written anew after each round. How they compete:
`benchmarks.lane_contest`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.lane_contest import LaneContest, contest_cells, contest_rows, lane_contest
from benchmarks.machine import machine, today

_FILE = "bare.json"
_SAMPLES = "power"
_MEMORY_RATIO = 0.42
"""Of each of the two engines; what is left is for their contexts and graphs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds that there is time for."""
    given = _arguments().parse_args(arguments)
    cells = contest_cells(*_overrides(given))
    given.out.mkdir(parents=True, exist_ok=True)
    asked = {name: value for name, value in vars(given).items() if name != "out"}
    about = {"date": today(), "machine": machine(), "model": cells["ray"].model.name, "asked": asked}
    with lane_contest(cells, given.limit_s) as contest:
        contest.run(given.rounds, lambda: _write(given.out, about, contest))
    if not contest.rounds:
        raise SystemExit("there was no time for a round")


def bare_section(found: dict[str, Any]) -> str:
    """The section of docs/h200.md as Markdown, from ``bare.json``."""
    asked, n_samples = found["asked"], found["power_samples"]
    sampled = f"sampled, {min(n_samples)} to {max(n_samples)} times a cell" if any(n_samples) else "not sampled"
    version = found["engine"].get("vllm", "of an unknown version")
    return f"""`python -m benchmarks.h200.bare --max-num-seqs {asked["max_num_seqs"]}`, {found["date"]}: vLLM {version},
{found["model"]}, {asked["requests"]} requests of {asked["prompt_tokens"]} prompt and {asked["output_tokens"]} output
tokens by {asked["max_num_seqs"]} users a run, {len(found["rounds"])} rounds that count after one that does not. Both
engines were loaded at once, each with {_MEMORY_RATIO:.0%} of the GPU's memory; the contenders took turns. The lane's
cells were {sampled}, and its engine records every iteration of its scheduler; the bare
loop's does not. Ratios are geometric means over the rounds. The bare loop's engine took {found["bare_start_s"]:.0f} s
to start, the lane's, which came after it, {found["lane_start_s"]:.0f} s.

| | output tokens/s, median | over the bare loop | 95 % t interval |
|---|---|---|---|
""" + "\n".join(contest_rows(found["rounds"]))


def _arguments() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--out", type=Path, required=True)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--requests", type=int, default=192)
    asked.add_argument("--max-num-seqs", type=int, default=64, help="and as many users")
    asked.add_argument("--prompt-tokens", type=int, default=232)
    asked.add_argument("--output-tokens", type=int, default=256)
    asked.add_argument("--limit-s", type=float, default=235.0, help="no round begins that would not end before")
    asked.add_argument(
        "overrides", nargs="*", help="further ones, such as engine.enforce_eager=true; they go before ours"
    )
    return asked


def _overrides(given: argparse.Namespace) -> list[str]:
    """Hydra's, each named once: those of the command line replace ours."""
    wanted = {
        "engine": "vllm",
        "model": "llama3_1_8b",
        "model.max_model_len": 32768,
        "hardware": "h200_sxm",
        "collectors": "nvml",
        "workflow": "token_grid",
        "workflow.prompt_tokens.tokens": given.prompt_tokens,
        "workflow.output_tokens.tokens": given.output_tokens,
        "engine.max_num_seqs": given.max_num_seqs,
        "engine.gpu_memory_utilization": _MEMORY_RATIO,
        "load.users": given.max_num_seqs,
        "load.num_workflows": given.requests,
    }
    wanted |= {name: value for name, _, value in (each.partition("=") for each in given.overrides)}
    return [f"{name}={value}" for name, value in wanted.items()]


def _write(folder: Path, about: dict[str, Any], contest: LaneContest) -> None:
    assert contest.lane is not None
    reasons = {reason.code for result in contest.results for reason in result.reasons}
    found = {
        **about,
        "bare_start_s": contest.bare.start_s,
        "lane_start_s": contest.lane.engine_start_s,
        "engine": contest.lane.provenance,
        "power_samples": [each.series[_SAMPLES].num_rows if _SAMPLES in each.series else 0 for each in contest.results],
        "reasons": sorted(reasons),
        "rounds": contest.rounds,
    }
    (folder / _FILE).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
