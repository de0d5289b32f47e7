"""What makes two cells the same experiment."""

from collections.abc import Callable

from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix, Settings

Composed = Callable[..., tuple[Matrix, Settings]]


def only(composed: Composed, *arguments: str) -> Cell:
    (cell,) = composed(*arguments)[0].cells
    return cell


def test_the_identity_of_a_cell_is_pinned(composed: Composed) -> None:
    """Resume finds old results by this: where it must change, raise `SCHEMA_VERSION`."""
    cell = only(composed, "hardware.power_limit_w=60%", "seed=1")
    assert cell.cell_id == "48cc0bb7905c"


def test_a_share_and_its_watts_are_the_same_cell(composed: Composed) -> None:
    ids = {only(composed, f"hardware.power_limit_w={cap}").cell_id for cap in ("60%", "240", "240.0")}
    assert len(ids) == 1


def test_a_value_that_is_the_default_changes_nothing(composed: Composed) -> None:
    assert only(composed, "+engine.block_size=16").cell_id == only(composed).cell_id


def test_every_axis_is_part_of_the_identity(composed: Composed) -> None:
    variants = ["seed=1", "repeat=1", "load.users=3", "engine.max_num_seqs=3", "hardware.power_limit_w=50%"]
    ids = [only(composed, variant).cell_id for variant in variants]
    assert len({only(composed).cell_id, *ids}) == len(variants) + 1


def test_cap_load_and_repeat_need_no_engine_restart(composed: Composed) -> None:
    key = only(composed).engine_key
    same = ["hardware.power_limit_w=50%", "hardware.sm_clock_mhz=900", "load.users=3", "repeat=1"]
    assert {only(composed, variant).engine_key for variant in same} == {key}
    assert only(composed, "engine.max_num_seqs=3").engine_key != key


def test_a_cell_reads_back_from_its_canonical_form(composed: Composed) -> None:
    cell = only(composed, "hardware.power_limit_w=60%")
    again = Cell.model_validate(cell.canonical())
    assert (again, again.cell_id) == (cell, cell.cell_id)
