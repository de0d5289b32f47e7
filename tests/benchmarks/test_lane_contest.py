"""Ratios of contenders who take turns, without an engine."""

import math
import time
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.lane_contest import LaneContest, contest_cells, contest_rows, ratio, throughput
from benchmarks.lane_overhead import overhead_section


class Bare:
    def __init__(self, log: list[str], takes_s: float) -> None:
        self._log, self._takes_s = log, takes_s

    def run(self, repeat: int) -> float:
        time.sleep(self._takes_s)
        self._log.append(f"bare {repeat}")
        return 100.0


class Executor:
    """Has no place at first; every cell answers 10 tokens in a tenth of a second."""

    def __init__(self, log: list[str]) -> None:
        self._log, self._is_ready, self._cell = log, False, None

    def choose(self, cells: list[Any]) -> int | None:
        self._is_ready, was_ready = True, self._is_ready
        return 0 if was_ready else None

    def submit(self, cell: Any) -> None:
        self._cell = cell
        self._log.append(f"{cell.name} {cell.repeat}")

    def wait(self, timeout_s: float) -> list[Any]:
        requests = pa.table({"submitted_s": [1.0, 1.01], "finished_s": [1.05, 1.1], "output_tokens": [4, 6]})
        result = SimpleNamespace(series={"requests": requests}, reasons=())
        return [] if self._cell is None else [SimpleNamespace(result=result, error=None)]

    def lanes(self) -> list[Any]:
        return [SimpleNamespace(engine_start_s=None), SimpleNamespace(engine_start_s=12.0)]


def _cell(name: str) -> Any:
    cell = SimpleNamespace(name=name, repeat=0)
    cell.model_copy = lambda update: SimpleNamespace(name=name, **update)
    return cell


def _contest(log: list[str], takes_s: float = 0.0, **more: Any) -> LaneContest:
    cells = {name: _cell(name) for name in ("local", "ray")}
    return LaneContest(Bare(log, takes_s), Executor(log), cells, **more)


def test_the_first_round_is_not_kept_and_who_begins_rotates(capsys):
    log: list[str] = []
    contest = _contest(log)
    contest.run(2, lambda: log.append("written"))
    assert log[:3] == ["bare 0", "local 0", "ray 0"]
    assert log[3:] == ["ray 1", "bare 1", "local 1", "written", "local 2", "ray 2", "bare 2", "written"]
    assert contest.rounds == [{"bare": 100.0, "local": pytest.approx(100.0), "ray": pytest.approx(100.0)}] * 2
    assert contest.lane.engine_start_s == 12.0
    assert len(contest.results) == 6


def test_no_round_begins_that_would_not_end_in_time(capsys):
    contest = _contest([], 0.2, end_s=time.monotonic() + 0.5)
    contest.run(50)
    assert 1 <= len(contest.rounds) <= 2


def test_tokens_are_counted_from_the_first_that_is_sent_to_the_last_answer():
    requests = pa.table({"submitted_s": [5.0, 3.0], "finished_s": [9.0, 13.0], "output_tokens": [30, 70]})
    assert throughput(SimpleNamespace(series={"requests": requests})) == pytest.approx(10.0)


def test_a_ratio_is_geometric_with_a_t_interval():
    mean, low, high = ratio([(50.0, 100.0), (200.0, 100.0)])
    assert mean == pytest.approx(1.0)
    assert low * high == pytest.approx(1.0)
    assert high == pytest.approx(math.exp(12.7062 * math.log(2)), rel=1e-3)
    assert ratio([(98.0, 100.0)])[0] == pytest.approx(0.98)
    assert math.isnan(ratio([(98.0, 100.0)])[1])


def test_rows_tell_medians_ratios_and_intervals_where_there_are_any():
    rounds = [{"bare": 100.0, "local": 99.0, "ray": 98.0}]
    assert contest_rows(rounds) == [
        "| a bare loop over `AsyncLLM` | 100 | 1 | |",
        "| a cell, `workflow.executor=local` | 99 | 0.990 | |",
        "| a cell, `workflow.executor=ray` | 98 | 0.980 | |",
    ]
    twice = contest_rows([*rounds, {"bare": 2000.0, "local": 1980.0, "ray": 1960.0}])
    assert twice[2] == "| a cell, `workflow.executor=ray` | 1,029 | 0.980 | 0.980 to 0.980 |"


def test_the_section_of_the_lanes_page_holds_the_rows():
    requested = {"requests": 96, "users": 8, "prompt_tokens": 128, "output_tokens": 64}
    actual = {"date": "d", "machine": "m", **requested, "rounds": [{"bare": 100.0, "local": 99.0, "ray": 98.0}]}
    section = overhead_section(actual)
    assert "96 requests of 128 prompt and 64 output tokens" in section
    assert section.endswith("|---|---|---|---|\n" + "\n".join(contest_rows(actual["rounds"])))


def test_both_cells_are_one_engines():
    cells = contest_cells("engine=vllm", "model=tiny_llama", "hardware=cpu", "collectors=none", "workflow=token_grid")
    assert {name: cell.workflow.executor for name, cell in cells.items()} == {"local": "local", "ray": "ray"}
    assert cells["local"].engine_key == cells["ray"].engine_key
    assert cells["ray"].protocol.idle_baseline_s == 0
