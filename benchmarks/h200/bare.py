"""``python -m benchmarks.h200.bare --out DIR``: compare a cell on a lane with a bare ``AsyncLLM`` loop on one GPU.

Both engines are loaded at the same time, each with less than half of the GPU's memory; while one works the other is
idle. The lane's cells are sampled. ``bare.json`` in DIR is rewritten after each round. The rules of the comparison are
in `benchmarks.lane_contest`.
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
"""Share of each of the two engines; the rest is for their contexts and graphs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds that fit into the time limit."""
    given = _arguments().parse_args(arguments)
    cells = contest_cells(*_overrides(given))
    given.out.mkdir(parents=True, exist_ok=True)
    options = {name: value for name, value in vars(given).items() if name != "out"}
    about = {"date": today(), "machine": machine(), "model": cells["ray"].model.name, "asked": options}
    with lane_contest(cells, given.limit_s) as contest:
        contest.run(given.rounds, lambda: _write(given.out, about, contest))
    if not contest.rounds:
        raise SystemExit("there was no time for a round")


def bare_section(results: dict[str, Any]) -> str:
    """Return the section of docs/h200.md as Markdown, from ``bare.json``."""
    options, n_samples = results["asked"], results["power_samples"]
    sampled = f"sampled, {min(n_samples)} to {max(n_samples)} times per cell" if any(n_samples) else "not sampled"
    version = results["engine"].get("vllm", "of an unknown version")
    return f"""`python -m benchmarks.h200.bare --max-num-seqs {options["max_num_seqs"]}`, {results["date"]}: vLLM
{version}, {results["model"]}, {options["requests"]} requests of {options["prompt_tokens"]} prompt and
{options["output_tokens"]} output tokens by {options["max_num_seqs"]} users per run, {len(results["rounds"])} rounds
after a discarded one. Both engines were loaded at the same time, each with {_MEMORY_RATIO:.0%} of the GPU's memory,
and took turns. The lane's cells were {sampled}. The lane's engine
records every iteration of its scheduler, the bare loop's does not. Ratios are geometric means over the rounds. The bare
loop's engine took {results["bare_start_s"]:.0f} s to start, the lane's, which started second,
{results["lane_start_s"]:.0f} s.

| | output tokens/s, median | over the bare loop | 95 % t interval |
|---|---|---|---|
""" + "\n".join(contest_rows(results["rounds"]))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=192)
    parser.add_argument("--max-num-seqs", type=int, default=64, help="and as many users")
    parser.add_argument("--prompt-tokens", type=int, default=232)
    parser.add_argument("--output-tokens", type=int, default=256)
    parser.add_argument(
        "--limit-s", type=float, default=235.0, help="time limit; a round that would end later is not started"
    )
    parser.add_argument(
        "overrides", nargs="*", help="further overrides, such as engine.enforce_eager=true; they replace the defaults"
    )
    return parser


def _overrides(given: argparse.Namespace) -> list[str]:
    """Return the overrides of the cell; those of the command line replace the defaults."""
    overrides = {
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
    overrides |= {name: value for name, _, value in (each.partition("=") for each in given.overrides)}
    return [f"{name}={value}" for name, value in overrides.items()]


def _write(folder: Path, about: dict[str, Any], contest: LaneContest) -> None:
    assert contest.lane is not None
    reasons = {reason.code for result in contest.results for reason in result.reasons}
    results = {
        **about,
        "bare_start_s": contest.bare.start_s,
        "lane_start_s": contest.lane.engine_start_s,
        "engine": contest.lane.provenance,
        "power_samples": [each.series[_SAMPLES].num_rows if _SAMPLES in each.series else 0 for each in contest.results],
        "reasons": sorted(reasons),
        "rounds": contest.rounds,
    }
    (folder / _FILE).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
