"""Cells on a lane beside a bare ``AsyncLLM`` loop on the same requests, each contender on an engine loaded once.

Three take turns: the bare loop with vLLM's own scheduler, the cell with its workflows in the engine's process, the cell
as a Ray task graph. Who begins rotates; the first round warms up and is not kept.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import psutil
from scipy import stats

from benchmarks.bare_process import BareProcess
from orchestrator.lanes.executor import RayExecutor
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.records.record import CellResult, LaneRecord
from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings

CONTENDERS = {
    "bare": "a bare loop over `AsyncLLM`",
    "local": "a cell, `workflow.executor=local`",
    "ray": "a cell, `workflow.executor=ray`",
}
_BARE = "bare"
_WAIT_S = 0.2
_PLACE_TIMEOUT_S = 60.0


@dataclass(slots=True)
class LaneContest:
    """Both engines are loaded: the bare loop's first, so that what it holds of a GPU is there before the lane's."""

    bare: BareProcess
    executor: RayExecutor
    cells: Mapping[str, Cell]
    end_s: float = np.inf
    """CLOCK_MONOTONIC; no round begins that would not end before."""
    rounds: list[dict[str, float]] = field(default_factory=list)
    """Output tokens per second by contender."""
    results: list[CellResult] = field(default_factory=list)
    """Of the lane's cells."""
    lane: LaneRecord | None = None
    """As it was when its engine had started."""

    def run(self, n: int, after_round: Callable[[], None] = lambda: None) -> None:
        """So many rounds, or fewer where the time is up."""
        order = deque(CONTENDERS)
        longest_s = 0.0
        for repeat in range(n + 1):
            begun_s = time.monotonic()
            if repeat and begun_s + longest_s > self.end_s:
                return
            found = {name: self._throughput(name, repeat) for name in order}
            order.rotate(1)
            if repeat:
                longest_s = max(longest_s, time.monotonic() - begun_s)
                self.rounds.append(found)
                after_round()

    def _throughput(self, name: str, repeat: int) -> float:
        if name == _BARE:
            found = self.bare.run(repeat)
        else:
            result = self._on_lane(self.cells[name].model_copy(update={"repeat": repeat}))
            self.results.append(result)
            found = throughput(result)
        print(repeat, name, f"{found:.1f} tok/s, load {psutil.getloadavg()[0]:.1f}", flush=True)
        return found

    def _on_lane(self, cell: Cell) -> CellResult:
        give_up_s = time.monotonic() + _PLACE_TIMEOUT_S
        while self.executor.choose([cell]) is None:
            if time.monotonic() > give_up_s:
                raise SystemExit("there is no place for the lane")
            self.executor.wait(_WAIT_S)
        self.executor.submit(cell)
        while not (outcomes := self.executor.wait(_WAIT_S)):
            pass
        (outcome,) = outcomes
        if outcome.result is None:
            raise SystemExit(f"the cell failed: {outcome.error}")
        self.lane = self.lane or next((each for each in self.executor.lanes() if each.engine_start_s is not None), None)
        return outcome.result


def contest_cells(*overrides: str) -> dict[str, Cell]:
    """The cell of these overrides by either executor, without what it would measure before and after."""
    return {name: _cell(*overrides, f"workflow.executor={name}") for name in CONTENDERS if name != _BARE}


def _cell(*overrides: str) -> Cell:
    rests = ("protocol.idle_baseline_s=0", "protocol.warmup_s=0", "protocol.min_window_s=0")
    expansion = compose((*overrides, *rests))
    assert expansion is not None
    (cell,) = build(expansion)[0].cells
    return cell


@contextmanager
def lane_contest(cells: Mapping[str, Cell], limit_s: float | None = None) -> Iterator[LaneContest]:
    """Engines that are loaded and ended; within ``limit_s``, if given, whatever hangs."""
    limits = {} if limit_s is None else {"engine_start_timeout_s": limit_s}
    end_s = np.inf if limit_s is None else time.monotonic() + limit_s
    bare = BareProcess(cells["local"], limit_s)
    executor = RayExecutor(ClusterSettings(**limits), run_cell)
    try:
        executor.start()
        yield LaneContest(bare, executor, cells, end_s)
    finally:
        executor.close()
        bare.close()


def throughput(result: CellResult) -> float:
    """Output tokens per second from the first request that was sent to the last that was answered."""
    requests = result.series["requests"]
    seconds = max(requests["finished_s"].to_pylist()) - min(requests["submitted_s"].to_pylist())
    return float(sum(requests["output_tokens"].to_pylist()) / seconds)


def ratio(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Geometric mean of ours over theirs, and its 95 % t interval; NaN for its ends where there is one pair."""
    logs = np.log([ours / theirs for ours, theirs in pairs])
    if len(logs) < 2:
        return float(np.exp(logs.mean())), np.nan, np.nan
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    mean, low, high = (float(np.exp(x)) for x in (logs.mean(), logs.mean() - half, logs.mean() + half))
    return mean, low, high


def contest_rows(rounds: list[dict[str, float]]) -> list[str]:
    """A row of a Markdown table for each contender: throughput, its ratio over the bare loop, the ratio's interval."""
    rows = []
    for name, words in CONTENDERS.items():
        rate = f"{np.median([each[name] for each in rounds]):,.0f}"
        if name == _BARE:
            rows.append(f"| {words} | {rate} | 1 | |")
            continue
        mean, low, high = ratio([(each[name], each[_BARE]) for each in rounds])
        interval = "" if np.isnan(low) else f" {low:.3f} to {high:.3f}"
        rows.append(f"| {words} | {rate} | {mean:.3f} |{interval} |")
    return rows
