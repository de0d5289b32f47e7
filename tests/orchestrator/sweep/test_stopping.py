"""When repeats are enough: the rule on values, and what it decides while a sweep runs, whatever the order."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cell_functions import a_result
from pydantic import ValidationError
from sample_sweeps import a_cell, a_record, settings

from orchestrator.errors import CellError, InfrastructureError
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import StopRule
from orchestrator.sweep.executor import Outcome
from orchestrator.sweep.order import block_of, ordered
from orchestrator.sweep.scheduler import schedule
from orchestrator.sweep.stopping import StopRuleGate, cells_not_needed, satisfied_by

METRIC = "gpu_energy_j_per_output_token"


RULE = {"metric": METRIC, "half_width_ratio": 0.1, "min_repeats": 3}


def test_a_rule_is_met_when_the_half_width_is_at_most_its_share_of_the_mean():
    """Of 9, 10, 11: mean 10, standard error 1/sqrt(3), t(2) = 4.303: half-width 2.484."""
    values = [9.0, 10.0, 11.0]
    assert satisfied_by(StopRule(metric=METRIC, half_width_ratio=0.2484, min_repeats=3), values) is None
    reason = satisfied_by(StopRule(metric=METRIC, half_width_ratio=0.2485, min_repeats=3), values)
    assert reason is not None
    assert f"{METRIC} is known to ±0.25 of its mean after 3 repeats" in reason


def test_a_rule_wants_its_least_repeats_and_a_metric():
    assert satisfied_by(StopRule(metric=METRIC, min_repeats=4), [1.0] * 3) is None
    assert satisfied_by(StopRule(metric=METRIC, min_repeats=4), [1.0] * 4) is not None
    assert satisfied_by(StopRule(), [1.0] * 99) is None


def test_what_does_not_scatter_is_enough_even_at_a_ratio_of_zero():
    rule = StopRule(metric=METRIC, half_width_ratio=0, min_repeats=5)
    assert satisfied_by(rule, [0.1] * 5) is not None
    assert satisfied_by(rule, [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3]) is not None
    assert satisfied_by(rule, [0.1, 0.1, 0.1, 0.1, 0.1001]) is None


@pytest.mark.parametrize("wrong", [{"metric": "energy"}, {"half_width_ratio": -1}, {"min_repeats": 2}])
def test_a_rule_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValidationError):
        StopRule.model_validate(RULE | wrong)


class Measuring:
    """An executor: a cell's energy is its users plus what ``scatter`` draws for its repeat; ``ends`` replaces that."""

    def __init__(self, scatter: dict[int, float], ends: dict[tuple[int, int], list[object]] | None = None, slots=4):
        self.scatter = scatter
        self.ends = ends or {}
        self.slots = slots
        self.begun: list[tuple[int, int]] = []
        self.in_flight: list[Cell] = []
        self.draw = random.Random(0)

    def choose(self, queue: Sequence[Cell]) -> int | None:
        return 0 if len(self.in_flight) < self.slots else None

    def submit(self, cell: Cell) -> None:
        self.begun.append((cell.load.users, cell.repeat))
        self.in_flight.append(cell)

    def wait(self, timeout_s: float) -> Sequence[Outcome]:
        if not self.in_flight:
            return ()
        cell = self.in_flight.pop(self.draw.randrange(len(self.in_flight)))
        ends = self.ends.get((cell.load.users, cell.repeat), [])
        end = ends.pop(0) if ends else "ok"
        known = {"cell": cell, "host": "h", "started_unix_s": 1, "ended_unix_s": 2}
        if isinstance(end, Exception):
            return (Outcome(**known, error=end),)
        noise = self.scatter[cell.load.users] * (-1) ** cell.repeat
        metrics = {METRIC: 100 * (1 + noise)}
        return (Outcome(**known, result=replace(a_result(), status=end, metrics=metrics)),)

    def lanes(self) -> tuple[()]:
        return ()


def matrix(n_repeats: int = 8, users: Sequence[int] = (1, 2, 3)) -> list[Cell]:
    return [a_cell(users=n, repeat=repeat) for repeat in range(n_repeats) for n in users]


def run(cells, executor, order="shuffled", rule=RULE, stop=lambda: False, not_needed_calls=None):
    stopping = StopRuleGate(
        cells,
        settings(stop_when=rule),
        block_of=lambda cell: block_of(cell, order),
        on_not_needed=lambda: None if not_needed_calls is None else not_needed_calls.append(1),
    )
    finished = list(schedule(ordered(cells, order), executor, max_attempts=3, gate=stopping, stop=stop))
    return stopping, finished


def n_run(executor) -> dict[int, int]:
    users = [n for n, _ in executor.begun]
    return {n: users.count(n) for n in sorted(set(users))}


QUIET, LOUD = 0.001, 0.5


@pytest.mark.parametrize("order", ["shuffled", "counterbalanced", "fewest_starts"])
@pytest.mark.parametrize("slots", [1, 3, 50])
def test_a_configuration_that_is_known_well_enough_is_repeated_no_more(order, slots):
    executor, not_needed_calls = Measuring({1: QUIET, 2: LOUD, 3: QUIET}, slots=slots), []
    stopping, finished = run(matrix(), executor, order, not_needed_calls=not_needed_calls)
    assert n_run(executor) == {1: 3, 2: 8, 3: 3}
    assert len(finished) == 14
    assert len(stopping.not_needed) == len(not_needed_calls) == 10
    assert all("after 3 repeats" in why for why in stopping.not_needed.values())


@pytest.mark.parametrize("order", ["shuffled", "counterbalanced"])
def test_blocks_of_repeats_hold_however_many_cells_run_at_once(order):
    executor = Measuring({1: LOUD, 2: LOUD, 3: QUIET}, slots=50)
    run(matrix(), executor, order)
    repeats = [repeat for _, repeat in executor.begun]
    assert repeats == sorted(repeats)


def test_invalid_and_failed_cells_do_not_count():
    ends = {(1, 0): ["invalid"], (1, 1): [CellError("no")], (2, 2): ["invalid"]}
    executor = Measuring({1: QUIET, 2: QUIET, 3: QUIET}, ends)
    run(matrix(), executor)
    assert n_run(executor) == {1: 5, 2: 4, 3: 3}


def test_a_lost_cell_is_waited_for():
    ends = {(1, 0): [InfrastructureError("gone"), InfrastructureError("gone")]}
    executor = Measuring({1: QUIET, 2: QUIET, 3: QUIET}, ends, slots=2)
    stopping, _ = run(matrix(), executor)
    assert executor.begun.count((1, 0)) == 3
    assert n_run(executor) == {1: 5, 2: 3, 3: 3}
    assert len(stopping.not_needed) == 15


def test_without_enough_repeats_nothing_is_stopped():
    executor = Measuring({1: QUIET, 2: QUIET, 3: QUIET})
    stopping, finished = run(matrix(n_repeats=3), executor)
    assert (len(finished), stopping.not_needed) == (9, {})


def test_records_tell_the_same_as_the_gate():
    cells, executor = matrix(), Measuring({1: QUIET, 2: LOUD, 3: QUIET}, {(3, 1): ["invalid"]})
    stopping, finished = run(cells, executor)
    records = {end.cell.cell_id: a_record(end.cell, end.result.status, metrics=end.result.metrics) for end in finished}
    assert cells_not_needed(cells, records, settings(stop_when=RULE)) == stopping.not_needed
    assert cells_not_needed(cells, records, settings()) == {}


def test_what_will_run_again_leaves_the_later_ones_open():
    cells = matrix(users=(1,))
    records = {cell.cell_id: a_record(cell, metrics={METRIC: 1.0}) for cell in cells[:3]}
    first = cells[0].cell_id
    assert len(cells_not_needed(cells, records, settings(stop_when=RULE))) == 5
    not_needed = cells_not_needed(
        cells, records, settings(stop_when=RULE), final=lambda record: record.cell_id != first
    )
    assert not_needed == {}


def test_a_cell_that_has_a_record_to_be_replaced_runs_in_any_case():
    cells = matrix(users=(1,))
    stopping = StopRuleGate(cells, settings(stop_when=RULE), rerun={cells[5].cell_id})
    for cell in cells[:3]:
        stopping.count_record(a_record(cell, metrics={METRIC: 1.0}))
    partition = stopping.partition_queue(cells[3:])
    assert [cells[3:][index].repeat for index in partition.runnable] == [5]
    assert [cells[3:][index].repeat for index in partition.not_needed] == [3, 4]
