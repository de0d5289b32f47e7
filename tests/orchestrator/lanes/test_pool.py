"""A sweep whose lanes fail, without Ray."""

import pytest
from lane_fakes.cells import a_lane_cell
from lane_fakes.scripted import Scripted, Story, scripted

from orchestrator.errors import EnvironmentFailure, InfeasibleCell, InfrastructureError, LimitsRefused
from orchestrator.ray_runtime.cluster import Node
from orchestrator.spec.cell import Cell
from orchestrator.sweep.scheduler import FinishedCell, RequeuedCell, schedule

GPU_NODE, GPU_NODE_2 = Node("g", "gpu-1", 8, 1), Node("h", "gpu-2", 8, 1)


CPU_NODE = Node("c", "cpu-1", 8, 0)


HEAD = Node("head", "head", 0, 0)


LOST = InfrastructureError("it hung")


NOT_RELEASED = InfrastructureError("on gpu-1: GPU memory was not freed")


OTHER_VERSION = EnvironmentFailure("node gpu-2 runs joulegrid 0.0.1, this process 9.9.9")


def _gpu_cells(*seqs: int) -> list[Cell]:
    return [a_lane_cell(seqs=each, kind="gpu_engine") for each in seqs]


def _run(executor: Scripted, cells: list[Cell], max_attempts: int = 3) -> list[FinishedCell]:
    return list(schedule(cells, executor, max_attempts=max_attempts))


def _errors(finished: list[FinishedCell]) -> list[str | None]:
    return [attempt.error for each in finished for attempt in each.attempts]


def test_memory_that_does_not_come_back_stops_the_next_engine_there(monkeypatch):
    executor = scripted(monkeypatch, GPU_NODE, CPU_NODE, stories=[Story(closed=NOT_RELEASED)])
    requeued: list[RequeuedCell] = []
    with pytest.raises(EnvironmentFailure) as caught:
        list(schedule(_gpu_cells(1, 2), executor, max_attempts=3, on_requeue=requeued.append))
    assert str(caught.value) == str(NOT_RELEASED)
    assert [each.attempts[-1].error for each in requeued] == [str(NOT_RELEASED)]
    assert [engine.host for engine in executor.engines] == ["host of g", None]
    assert executor.warnings == [f"node g gets no lane any more: {NOT_RELEASED}"]


def test_memory_that_does_not_come_back_sends_the_next_engine_to_another_node(monkeypatch):
    executor = scripted(monkeypatch, GPU_NODE, GPU_NODE_2, stories=[Story(closed=NOT_RELEASED)])
    finished = _run(executor, _gpu_cells(1, 2, 3, 4))
    assert [each.error for each in finished] == [None] * 4
    assert [engine.host for engine in executor.engines].count("host of g") == 1


def test_a_node_with_another_version_fails_no_cell_once_the_sweep_has_begun(monkeypatch):
    executor = scripted(monkeypatch, GPU_NODE, GPU_NODE_2, stories=[Story(), Story(greeted=OTHER_VERSION)])
    finished = _run(executor, _gpu_cells(1, 2))
    assert [each.error for each in finished] == [None, None]
    assert sorted(map(str, _errors(finished))) == ["None", "None", str(OTHER_VERSION)]
    assert executor.warnings == [f"node h gets no lane any more: {OTHER_VERSION}"]


def test_a_first_node_with_another_version_ends_the_sweep(monkeypatch):
    executor = scripted(monkeypatch, GPU_NODE, stories=[Story(greeted=OTHER_VERSION)])
    with pytest.raises(EnvironmentFailure, match="runs joulegrid"):
        _run(executor, _gpu_cells(1))


def test_an_engine_that_was_placed_shows_that_lanes_can_be(monkeypatch):
    executor = scripted(monkeypatch, GPU_NODE, stories=[Story(loaded=LOST), Story(unplaced=LOST)])
    (finished,) = _run(executor, _gpu_cells(1))
    assert (_errors([finished]), finished.error) == ([str(LOST), str(LOST), None], None)


def test_lanes_without_a_place_do_not_count_as_failed_engine_starts(monkeypatch):
    stories = [Story(), *[Story(unplaced=LOST)] * 2]
    executor = scripted(monkeypatch, GPU_NODE, stories=stories, max_attempts=2)
    second = _gpu_cells(2)[0]
    finished = _run(executor, [a_lane_cell(seqs=1), second, second.model_copy(update={"repeat": 1})], max_attempts=2)
    assert [each.error for each in finished] == [None] * 3
    assert _errors(finished).count(str(LOST)) == 2


def test_the_last_node_with_gpus_is_kept_whatever_others_there_are(monkeypatch):
    stories = [Story(loaded=LOST), Story(loaded=LOST)]
    executor = scripted(monkeypatch, HEAD, GPU_NODE, CPU_NODE, stories=stories)
    finished = _run(executor, _gpu_cells(1, 2))
    assert [each.error for each in finished] == [None, None]
    assert executor.warnings == []


def test_an_engine_too_large_for_this_machine_is_refused_at_once(monkeypatch):
    executor = scripted(monkeypatch, Node("n", "here", 8, 0), address="local")
    (refused, good) = _run(executor, [*_gpu_cells(1), a_lane_cell()])
    assert isinstance(refused.error, InfeasibleCell)
    assert str(refused.error) == "the engine needs 1 GPU and 1 CPU on one node; here has 0 GPUs and 8 CPUs"
    assert len(refused.attempts) == 1
    assert good.error is None
    assert len(executor.engines) == 1


def test_the_gpu_of_the_cell_is_requested(monkeypatch):
    executor = scripted(monkeypatch, GPU_NODE)
    _run(executor, [*_gpu_cells(1), a_lane_cell(seqs=2)])
    assert [engine.gpu for engine in executor.engines] == ["gpu", None]


def test_an_engine_that_does_not_close_in_its_part_of_the_time_is_killed(monkeypatch):
    executor = scripted(monkeypatch, GPU_NODE, stories=[Story(closes=False)])
    _run(executor, _gpu_cells(1))
    executor.pool.close(0.3)
    assert [engine.was_killed for engine in executor.engines] == [True]


def test_a_node_that_lets_nobody_set_its_gpus_gets_no_lane_and_the_last_one_ends_the_sweep(monkeypatch):
    refused = EnvironmentFailure("on gpu-1: hardware.power_limit_w may not be set on GPU-1 by this process")
    executor = scripted(monkeypatch, GPU_NODE, GPU_NODE_2, stories=[Story(loaded=refused)])
    finished = _run(executor, _gpu_cells(1, 2))
    assert [each.error for each in finished] == [None, None]
    assert executor.warnings == [f"node g gets no lane any more: {refused}"]
    executor = scripted(monkeypatch, GPU_NODE, stories=[Story(loaded=refused)])
    with pytest.raises(EnvironmentFailure, match="may not be set on GPU-1"):
        _run(executor, _gpu_cells(1))


REFUSED = LimitsRefused("on gpu-1: hardware.power_limit_w may not be set on GPU-1 by this process")


def _some_capped(*limits_w: float | None) -> list[Cell]:
    """Cells of one engine."""
    return [a_lane_cell(seqs=1, kind="gpu_engine", users=2 + n, power_limit_w=each) for n, each in enumerate(limits_w)]


@pytest.mark.parametrize("story", [Story(loaded=REFUSED), Story(refused=REFUSED)])
def test_a_node_that_may_not_be_set_runs_what_sets_nothing_and_others_the_rest(monkeypatch, story):
    executor = scripted(monkeypatch, GPU_NODE, GPU_NODE_2, stories=[story])
    finished = _run(executor, _some_capped(300, None, 300, None))
    assert [each.error for each in finished] == [None] * 4
    assert executor.warnings == [f"node g gets no cell with a limit or clock any more: {REFUSED}"]
    assert _errors(finished).count(str(REFUSED)) == 1


@pytest.mark.parametrize("story", [Story(loaded=REFUSED), Story(refused=REFUSED)])
def test_where_no_node_may_be_set_what_sets_nothing_runs_before_the_sweep_ends(monkeypatch, story):
    executor = scripted(monkeypatch, GPU_NODE, stories=[story])
    finished: list[FinishedCell] = []
    with pytest.raises(EnvironmentFailure, match="may not be set on GPU-1"):
        finished.extend(schedule(_some_capped(300, None, None), executor, max_attempts=3))
    assert [each.error for each in finished] == [None, None]
    assert {each.cell.hardware.power_limit_w for each in finished} == {None}


def test_energy_and_power_of_a_start_are_in_the_lanes_record(monkeypatch):
    executor = scripted(monkeypatch, GPU_NODE)
    records = []
    list(schedule(_gpu_cells(1), executor, max_attempts=3, on_lane=records.append))
    record = records[-1]
    assert (record.bare_idle_power_w, record.engine_start_energy_j, record.loaded_idle_power_w) == (70.0, 900.0, 95.0)
