"""``python -m benchmarks.lane_overhead``: a cell on a lane beside a bare ``AsyncLLM`` loop on the same requests.

Three take turns, each on an engine loaded once: the bare loop with vLLM's own scheduler, the cell with its workflows in
the engine's process, the cell as a Ray task graph. The lane's engine records every iteration. Who begins rotates.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from scipy import stats

from benchmarks.kept import read_results, write_results
from benchmarks.machine import machine, today
from benchmarks.section import write_section
from orchestrator.cell import Cell
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.matrix.build import build
from orchestrator.matrix.compose import compose
from orchestrator.record import CellResult
from orchestrator.run_cell import run_cell
from orchestrator.settings import ClusterSettings

_WORDS = {
    "bare": "a bare loop over `AsyncLLM`",
    "local": "a cell, `workflow.executor=local`",
    "ray": "a cell, `workflow.executor=ray`",
}


def main() -> None:
    """Run the rounds, say the ratios, and keep what was measured."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=8)
    asked.add_argument("--requests", type=int, default=96)
    asked.add_argument("--users", type=int, default=8)
    asked.add_argument("--prompt-tokens", type=int, default=128)
    asked.add_argument("--output-tokens", type=int, default=64)
    given = asked.parse_args()
    cells = {name: _cell(name, given) for name in ("local", "ray")}
    bare = _Bare(cells["local"])
    executor = RayExecutor(ClusterSettings(), run_cell)
    try:
        executor.start()
        rounds = _rounds(bare, executor, cells, given.rounds)
    finally:
        executor.close()
        bare.close()
    write_results("lane_overhead", {"date": today(), "machine": machine(), **vars(given), "rounds": rounds})
    write_overhead()


def write_overhead() -> None:
    """Write the section of docs/lanes.md from the results that are kept."""
    found = read_results("lane_overhead")
    assert found is not None
    write_section("lanes.md", "What a lane costs", overhead_section(found))


def overhead_section(found: dict[str, Any]) -> str:
    """The section as Markdown."""
    rows = []
    for name, words in _WORDS.items():
        rates = [each[name] for each in found["rounds"]]
        mean, low, high = ratio([(each[name], each["bare"]) for each in found["rounds"]])
        over = "1" if name == "bare" else f"{mean:.3f} | {low:.3f} to {high:.3f}"
        rows.append(f"| {words} | {median(rates):,.0f} | {over} |" + (" |" if name == "bare" else ""))
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
""" + "\n".join(rows)


def ratio(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Geometric mean of ours over theirs, and its 95 % t interval."""
    logs = np.log([ours / theirs for ours, theirs in pairs])
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return tuple(float(np.exp(x)) for x in (logs.mean(), logs.mean() - half, logs.mean() + half))


def _rounds(bare: "_Bare", executor: RayExecutor, cells: dict[str, Cell], n: int) -> list[dict[str, float]]:
    """Output tokens per second of each contender; the first round warms up and is not kept."""

    def run(name: str, repeat: int) -> float:
        found = bare.run(repeat) if name == "bare" else _throughput(_on_lane(executor, cells[name], repeat))
        print(repeat, name, f"{found:.1f} tok/s, load {psutil.getloadavg()[0]:.1f}", flush=True)
        return found

    order = deque(_WORDS)
    rounds = []
    for repeat in range(n + 1):
        rounds.append({name: run(name, repeat) for name in order})
        order.rotate(1)
    return rounds[1:]


def _on_lane(executor: RayExecutor, cell: Cell, repeat: int) -> CellResult:
    cell = cell.model_copy(update={"repeat": repeat})
    assert executor.choose([cell]) == 0
    executor.submit(cell)
    while not (outcomes := executor.wait(1.0)):
        pass
    (outcome,) = outcomes
    if outcome.result is None:
        raise SystemExit(f"the cell failed: {outcome.error}")
    return outcome.result


def _throughput(result: CellResult) -> float:
    requests = result.series["requests"]
    seconds = max(requests["finished_s"].to_pylist()) - min(requests["submitted_s"].to_pylist())
    return sum(requests["output_tokens"].to_pylist()) / seconds


def _cell(executor: str, given: argparse.Namespace) -> Cell:
    expansion = compose(
        (
            "engine=vllm",
            "model=tiny_llama",
            "hardware=cpu",
            "collectors=none",
            "workflow=token_grid",
            f"workflow.executor={executor}",
            f"workflow.prompt_tokens.tokens={given.prompt_tokens}",
            f"workflow.output_tokens.tokens={given.output_tokens}",
            f"load.users={given.users}",
            f"load.num_workflows={given.requests}",
            "protocol.idle_baseline_s=0",
            "protocol.warmup_s=0",
            "protocol.min_window_s=0",
        )
    )
    assert expansion is not None
    (cell,) = build(expansion)[0].cells
    return cell


class _Bare:
    """The bare loop in a process of its own."""

    def __init__(self, cell: Cell) -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "cell.json"
        path.write_text(cell.model_dump_json())
        command = [sys.executable, "-m", "benchmarks.bare_loop", str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def run(self, repeat: int) -> float:
        """Output tokens per second of this repeat."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{repeat}\n")
        self._process.stdin.flush()
        found = self._answer()
        return found["output_tokens"] / found["seconds"]

    def close(self) -> None:
        """End it."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._folder.cleanup()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, float] = json.loads(line)
                return found
        raise SystemExit("the bare loop ended")


if __name__ == "__main__":
    main()
