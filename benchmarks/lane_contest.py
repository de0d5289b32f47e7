"""Compare cells on a lane with a bare ``AsyncLLM`` loop on the same requests; each engine is loaded once.

Three contenders take turns: the bare loop with vLLM's own scheduler, the cell with its workflows in the engine's
process, and the cell as a Ray task graph. The order rotates. The first round warms up and is discarded.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import psutil

from benchmarks.bare_loop import BareProcess
from orchestrator.lanes.executor import RayExecutor
from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.measure.statistics import mean_of
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
    """Both loaded engines; the bare loop's is loaded first, so that the lane sees the GPU memory it uses."""

    bare: BareProcess
    executor: RayExecutor
    cells: Mapping[str, Cell]
    end_s: float = np.inf
    """Time limit in ``CLOCK_MONOTONIC``: no round starts that would end later."""
    rounds: list[dict[str, float]] = field(default_factory=list)
    """Output tokens per second by contender."""
    results: list[CellResult] = field(default_factory=list)
    """Results of the lane's cells."""
    lane: LaneRecord | None = None
    """Record of the lane when its engine had started."""

    def run(self, n: int, after_round: Callable[[], None] = lambda: None) -> None:
        """Run ``n`` rounds, or fewer if the time limit is reached."""
        order = deque(CONTENDERS)
        longest_s = 0.0
        for repeat in range(n + 1):
            start_s = time.monotonic()
            if repeat and start_s + longest_s > self.end_s:
                return
            rates = {name: self._throughput(name, repeat) for name in order}
            order.rotate(1)
            if repeat:
                longest_s = max(longest_s, time.monotonic() - start_s)
                self.rounds.append(rates)
                after_round()

    def _throughput(self, name: str, repeat: int) -> float:
        if name == _BARE:
            rate = self.bare.run(repeat)
        else:
            result = self._on_lane(self.cells[name].model_copy(update={"repeat": repeat}))
            self.results.append(result)
            rate = throughput(result)
        print(repeat, name, f"{rate:.1f} tok/s, load {psutil.getloadavg()[0]:.1f}", flush=True)
        return rate

    def _on_lane(self, cell: Cell) -> CellResult:
        end_s = time.monotonic() + _PLACE_TIMEOUT_S
        while self.executor.choose([cell]) is None:
            if time.monotonic() > end_s:
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
    """Return the cell of these overrides with either executor, without idle baseline, warm-up and minimum window."""
    return {name: _cell(*overrides, f"workflow.executor={name}") for name in CONTENDERS if name != _BARE}


def _cell(*overrides: str) -> Cell:
    phases_off = ("protocol.idle_baseline_s=0", "protocol.warmup_s=0", "protocol.min_window_s=0")
    expansion = compose((*overrides, *phases_off))
    assert expansion is not None
    (cell,) = build(expansion)[0].cells
    return cell


@contextmanager
def lane_contest(cells: Mapping[str, Cell], limit_s: float | None = None) -> Iterator[LaneContest]:
    """Load both engines and end them afterwards; ``limit_s`` limits starts, rounds and hangs."""
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
    """Return output tokens per second from the first request sent to the last one answered."""
    requests = result.series["requests"]
    seconds = max(requests["finished_s"].to_pylist()) - min(requests["submitted_s"].to_pylist())
    return float(sum(requests["output_tokens"].to_pylist()) / seconds)


def ratio(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the geometric mean of first over second, and its 95 % t interval, whose ends are NaN for one pair."""
    mean = mean_of(np.log([first / second for first, second in pairs]))
    low, high = (np.nan if end is None else float(np.exp(end)) for end in (mean.low, mean.high))
    return float(np.exp(mean.value)), low, high


def contest_rows(rounds: list[dict[str, float]]) -> list[str]:
    """Return a Markdown row for each contender: throughput, ratio to the bare loop, and interval of the ratio."""
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
