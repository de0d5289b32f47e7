"""The order of a matrix: blocks of repeats, shuffled, or the fewest engine starts."""

from collections import Counter
from collections.abc import Callable
from itertools import groupby

import pytest

from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix, Settings
from orchestrator.sweep.order import engine_starts, ordered

AXES = ("engine.max_num_seqs=1,2,4,8", "hardware.power_limit_w=50%,75%,100%", "repeat=range(0,3)")


@pytest.fixture
def cells(composed: Callable[..., tuple[Matrix, Settings]]) -> tuple[Cell, ...]:
    return composed(*AXES, flags=("-m",))[0].cells


def keys(cells: tuple[Cell, ...]) -> list[int]:
    return [size for size, _ in groupby(cell.engine.max_num_seqs for cell in cells)]


def test_both_orders_run_every_cell_once(cells: tuple[Cell, ...]) -> None:
    for order in ("shuffled", "fewest_starts"):
        assert Counter(cell.cell_id for cell in ordered(cells, order)) == Counter(cell.cell_id for cell in cells)


def test_shuffled_runs_repeats_in_blocks(cells: tuple[Cell, ...]) -> None:
    repeats = [cell.repeat for cell in ordered(cells, "shuffled")]
    assert repeats == [0] * 12 + [1] * 12 + [2] * 12


def test_shuffled_keeps_an_engine_through_a_block(cells: tuple[Cell, ...]) -> None:
    cells_in_order = ordered(cells, "shuffled")
    blocks = [keys(cells_in_order[start : start + 12]) for start in (0, 12, 24)]
    assert [sorted(block) for block in blocks] == [[1, 2, 4, 8]] * 3
    assert len({tuple(block) for block in blocks}) > 1


def test_shuffled_depends_on_its_seed_alone(cells: tuple[Cell, ...]) -> None:
    assert ordered(cells, "shuffled", seed=1) == ordered(cells, "shuffled", seed=1)
    assert ordered(cells, "shuffled", seed=1) != ordered(cells, "shuffled", seed=2)


def test_shuffled_does_not_follow_the_cap(cells: tuple[Cell, ...]) -> None:
    caps = [cell.hardware.power_limit_w for cell in ordered(cells, "shuffled")]
    assert any(caps[start : start + 3] != sorted(caps[start : start + 3]) for start in range(0, 36, 3))


def test_fewest_starts_takes_each_engine_once(cells: tuple[Cell, ...]) -> None:
    cells_in_order = ordered(cells, "fewest_starts")
    assert keys(cells_in_order) == [1, 2, 4, 8]
    assert engine_starts(cells_in_order) == 4
    assert 10 <= engine_starts(ordered(cells, "shuffled")) <= 12


def test_no_cells_need_no_engine() -> None:
    assert engine_starts(()) == 0
