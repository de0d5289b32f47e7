import pytest
from sample_sweeps import a_matrix, settings

from orchestrator.errors import UserError
from orchestrator.store.manifest import new_sweep_id, parse_sweep_id, safe_name
from orchestrator.store.paths import find_sweep, list_sweeps
from orchestrator.store.sweep import SweepStore


def create(runs_dir, name):
    return SweepStore.create(runs_dir, a_matrix(name=name), settings(), {}).sweep_id


def test_an_id_is_the_name_the_second_in_utc_and_its_fraction():
    assert str(new_sweep_id("batch", 1_700_000_000.5)) == "batch-20231114-221320-8000"
    assert parse_sweep_id("a-b-20231114-221320-8000").name == "a-b"
    assert parse_sweep_id("a-20231114-221320") is None


@pytest.mark.parametrize(
    ("name", "safe"),
    [("batch_powercap", "batch_powercap"), ("a b/c", "a_b_c"), ("../../etc", "etc"), ("é", "sweep"), ("", "sweep")],
)
def test_names_become_safe_characters(name, safe):
    assert safe_name(name) == safe


def test_latest_is_the_newest_of_the_name(runs_dir):
    create(runs_dir, "a")
    newest = create(runs_dir, "a")
    other = create(runs_dir, "a-b")

    assert find_sweep(runs_dir, "latest", "a").sweep_id == newest
    assert find_sweep(runs_dir, "latest").sweep_id == other
    assert list_sweeps(runs_dir)[0].sweep_id == other


def test_a_sweep_is_found_by_id_and_by_path(runs_dir):
    sweep_id = create(runs_dir, "a")
    assert find_sweep(runs_dir, sweep_id).sweep_id == sweep_id
    assert find_sweep(runs_dir / "elsewhere", str(runs_dir / sweep_id)).root == runs_dir / sweep_id


def test_folders_without_a_manifest_are_no_sweeps(runs_dir):
    sweep_id = create(runs_dir, "a")
    (runs_dir / "a-29990101-000000-0000" / "cells").mkdir(parents=True)
    (runs_dir / "notes.txt").write_text("")
    assert find_sweep(runs_dir, "latest", "a").sweep_id == sweep_id


def test_an_unknown_sweep_is_answered_with_the_newest(runs_dir):
    ids = [create(runs_dir, "a") for _ in range(7)]
    with pytest.raises(UserError) as caught:
        find_sweep(runs_dir, "nonsense")
    assert str(caught.value) == (
        f"there is no sweep 'nonsense' in {runs_dir}; the newest are: {', '.join(reversed(ids[2:]))}"
    )
    with pytest.raises(UserError, match="there is no sweep called 'b' in"):
        find_sweep(runs_dir, "latest", "b")


def test_an_empty_folder_says_so(tmp_path):
    with pytest.raises(UserError, match="the folder has no sweeps"):
        find_sweep(tmp_path / "none", "latest")
