"""Lanes on one local Ray: how engines are shared, and how failed ones are handled."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from lane_fakes.cells import a_lane_cell, children_left, in_virtual_time
from lane_fakes.engine import SCRATCH
from sample_sweeps import a_cell

from orchestrator.errors import CellError
from orchestrator.lanes.executor import RayExecutor
from orchestrator.records.record import LaneRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.scheduler import FinishedCell, schedule

pytestmark = [pytest.mark.ray, pytest.mark.slow]


HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def executor(scratch: Path) -> Iterator[RayExecutor]:
    settings = ClusterSettings(num_workers=1, engine_start_timeout_s=4, teardown_timeout_s=3)
    executor = RayExecutor(settings, in_virtual_time, max_attempts=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (HERE, HERE.parent))))
        patch.setenv(SCRATCH, str(scratch))
        executor.start()
        try:
            yield executor
        finally:
            executor.close()
    assert children_left(scratch) == []


@pytest.fixture(autouse=True)
def _fresh(executor: RayExecutor, scratch: Path) -> None:
    for path in scratch.iterdir():
        path.unlink()
    executor.lanes()


def _run(executor: RayExecutor, *cells: Cell, records: list[LaneRecord] | None = None) -> list[FinishedCell]:
    on_lane = [].append if records is None else records.append
    return list(schedule(cells, executor, max_attempts=2, on_lane=on_lane))


def _starts(scratch: Path) -> int:
    return len((scratch / "starts").read_text().splitlines())


def _last(records: Sequence[LaneRecord]) -> list[LaneRecord]:
    return list({record.lane_id: record for record in records}.values())


def _attempts(finished: FinishedCell) -> list[tuple[str, str | None]]:
    return [(attempt.outcome, attempt.error) for attempt in finished.attempts]


def test_twelve_cells_of_two_engines_on_one_lane_are_two_starts(executor, scratch):
    cells = [a_lane_cell(seqs=seqs, users=users) for users in range(1, 7) for seqs in (16, 17)]
    all_records: list[LaneRecord] = []
    finished = _run(executor, *cells, records=all_records)
    assert len(finished) == 12
    assert [each.error for each in finished] == [None] * 12
    assert _starts(scratch) == 2
    records = [record for record in _last(all_records) if record.provenance]
    assert {record.lane_id for record in records} >= {each.attempts[0].lane for each in finished}
    first = next(record for record in records if record.ended_unix_s is not None)
    assert (first.n_cells, first.end) == (6, "its place was needed for another engine")
    assert first.host == socket.gethostname()
    assert first.provenance == {"faulty": "yes"}
    assert 0 <= first.engine_start_s < 10
    assert first.started_unix_s < first.clock["unix_s"] < first.ended_unix_s
    assert (first.bare_idle_power_w, first.devices) == (None, ())
    assert len(children_left(scratch)) == 1


def test_a_sweep_may_mix_cells_in_virtual_time_with_others(executor):
    finished = _run(executor, a_lane_cell(), a_cell(repeat=1), a_lane_cell(users=3))
    assert [each.error for each in finished] == [None] * 3
    assert {each.cell.repeat: each.attempts[0].lane is None for each in finished} == {0: False, 1: True}


def test_a_refused_engine_fails_its_cells_after_one_start(executor, scratch):
    finished = _run(executor, *[a_lane_cell("refuses", users=users, once=False) for users in (1, 2, 3)], a_lane_cell())
    errors = [type(each.error) for each in finished if each.cell.engine.fault == "refuses"]
    assert errors == [CellError] * 3
    assert {str(each.error) for each in finished[:3]} == {"the engine knows no argument 'fault'"}
    assert (scratch / "starts").read_text().splitlines().count("refuses") == 1
    assert finished[-1].error is None


def test_an_engine_that_does_not_start_is_tried_again_and_given_up(executor, scratch):
    finished = _run(executor, *[a_lane_cell("fails_to_start", users=users, once=False) for users in (1, 2, 3)])
    assert all(each.result is None for each in finished)
    assert (scratch / "starts").read_text().splitlines().count("fails_to_start") == 2
    text = "the engine did not start, 2 times on 1 nodes: the driver of the GPU does not answer"
    assert sum(str(each.error) == text for each in finished) >= 2


def test_an_engine_that_hangs_at_its_start_is_ended_and_tried_again(executor, scratch):
    (finished,) = _run(executor, a_lane_cell("hangs_at_start"))
    (first, second) = _attempts(finished)
    assert first[1] == (f"the engine on {socket.gethostname()} did not start in 4 s (cluster.engine_start_timeout_s)")
    assert second == ("ok", None)
    assert len(children_left(scratch)) == 1


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("trouble", "the engine core (pid 7) was killed by SIGKILL"),
        ("stalls", "calls in flight and not one token in"),
        ("killed", "the engine's actor (pid "),
        ("stopped", "was stopped by a signal (SIGSTOP)"),
    ],
)
def test_an_engine_lost_in_a_cell_is_replaced_and_the_cell_repeated(executor, scratch, fault, text):
    other, finished = sorted(
        _run(executor, a_lane_cell(fault), a_lane_cell(fault, users=1)), key=lambda each: -each.cell.load.users
    )[::-1]
    first, second = finished.attempts if len(finished.attempts) == 2 else other.attempts
    assert (first.outcome, first.error_kind, second.outcome) == ("failed", "InfrastructureError", "ok")
    assert text in first.error
    assert first.lane != second.lane
    assert _starts(scratch) == 2
    assert len(children_left(scratch)) == 1


def test_a_cell_that_is_at_fault_ends_alone_and_the_engine_goes_on(executor, scratch):
    bad, good = _run(executor, a_lane_cell("bad_request"), a_lane_cell("bad_request", users=3))
    assert str(bad.error) == "request 1 is too long"
    assert good.error is None
    assert bad.attempts[0].lane == good.attempts[0].lane
    assert _starts(scratch) == 1


def test_an_engine_killed_between_cells_costs_no_cell(executor, scratch):
    (first,) = _run(executor, a_lane_cell())
    (child,) = children_left(scratch)
    psutil.Process(child).parent().kill()
    deadline_s = time.monotonic() + 20
    while not any(record.ended_unix_s for record in executor.lanes()) and time.monotonic() < deadline_s:
        executor.wait(0.5)
    (second,) = _run(executor, a_lane_cell(users=5))
    assert [len(each.attempts) for each in (first, second)] == [1, 1]
    assert second.error is None


def test_closing_ends_the_engines(executor, scratch):
    _run(executor, a_lane_cell())
    assert len(children_left(scratch)) == 1
    executor.close()
    assert children_left(scratch) == []
    (record,) = [record for record in executor.lanes() if record.ended_unix_s]
    assert record.end == "the sweep ended"
