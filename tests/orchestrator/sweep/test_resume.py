import logging

import pytest
from sample_sweeps import a_cell, a_matrix, a_record, an_attempt, settings

from orchestrator.errors import UserError
from orchestrator.store.sweep import SweepStore
from orchestrator.sweep.record_writer import merged_attempts
from orchestrator.sweep.resume import must_run, provenance_changes, resume

CELL = a_cell()


INVALID = tuple(an_attempt(number, "invalid") for number in (1, 2))


@pytest.mark.parametrize(
    ("record", "runs"),
    [
        (None, True),
        (a_record(CELL, "ok"), False),
        (a_record(CELL, "failed"), True),
        (a_record(CELL, "failed", attempts=tuple(an_attempt(n, "failed") for n in range(1, 9))), True),
        (a_record(CELL, "invalid", transient=(True,)), True),
        (a_record(CELL, "invalid", transient=(True, True)), True),
        (a_record(CELL, "invalid", transient=(False,)), False),
        (a_record(CELL, "invalid", transient=(True, False)), False),
        (a_record(CELL, "invalid", transient=(True,), attempts=INVALID), True),
        (a_record(CELL, "invalid", transient=(True,), attempts=(*INVALID, an_attempt(3, "failed"))), True),
        (a_record(CELL, "invalid", transient=(True,), attempts=(*INVALID, an_attempt(3, "invalid"))), False),
    ],
)
def test_what_a_resume_runs(record, runs):
    assert must_run(record, max_attempts=3) is runs


def test_a_resume_runs_what_is_left_in_the_order_of_the_matrix_and_adds_a_start(runs_dir):
    cells = [a_cell(users=users) for users in (1, 2, 3, 4)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {"host": "a"})
    store.write(a_record(cells[0]), {})
    store.write(a_record(cells[1], "failed"), {})

    resumption = resume(store, None, settings(), {"host": "b"})

    assert resumption.to_run == tuple(cells[1:])
    assert resumption.warnings == ("changed since the last start: host was a, is b",)
    manifest = SweepStore.open(store.paths.root).manifest
    assert [start.provenance["host"] for start in manifest.starts] == ["a", "b"]
    assert manifest.warnings == resumption.warnings


def test_a_damaged_record_is_run_again(store, caplog):
    cell_id = store.manifest.order[0]
    for cell in store.manifest.matrix().cells:
        store.write(a_record(cell), {})
    store.paths.cell(cell_id).record.write_text("{")

    with caplog.at_level(logging.WARNING):
        resumption = resume(store, None, settings(), {})
    assert [cell.cell_id for cell in resumption.to_run] == [cell_id]
    assert "counts as missing" in caplog.text


def test_nothing_to_do_changes_nothing_on_disk(store):
    for cell in store.manifest.matrix().cells:
        store.write(a_record(cell), {})
    before = store.paths.manifest.read_bytes()

    resumption = resume(store, a_matrix(), settings(), {"host": "other"})

    assert resumption.to_run == ()
    assert resumption.warnings == ()
    assert store.paths.manifest.read_bytes() == before


def test_the_same_cells_in_another_order_are_the_same_matrix(store):
    cells = store.manifest.matrix().cells
    assert resume(store, a_matrix(*reversed(cells)), settings(), {}).matrix.cells == cells


def test_a_changed_matrix_is_refused_with_the_keys_that_differ(store):
    changed = a_matrix(a_cell(users=2), a_cell(users=4), a_cell(users=4, max_num_seqs=16))
    with pytest.raises(UserError) as caught:
        resume(store, changed, settings(), {})
    assert str(caught.value) == (
        f"this matrix is not that of {store.sweep_id}; cells: 2 added, 1 removed "
        "(engine.max_num_seqs: 8 then, 8,16 now; load.users: 1,2 then, 2,4 now); "
        "start a new sweep (no resume=), or add cells with extend=true"
    )


def test_a_smaller_matrix_is_refused_too(store):
    with pytest.raises(UserError, match=r"cells: 1 removed \(load\.users: 1,2 then, 1 now\)"):
        resume(store, a_matrix(a_cell(users=1)), settings(), {})


def test_extend_adds_cells_and_keeps_those_there_were(store):
    first, second = store.manifest.matrix().cells
    store.write(a_record(first), {})
    added = a_cell(users=2, repeat=1)

    resumption = resume(store, a_matrix(added, swept=("repeat",)), settings(extend=True), {})

    assert resumption.to_run == (second, added)
    reopened = SweepStore.open(store.paths.root).manifest
    assert reopened.order == (first.cell_id, second.cell_id, added.cell_id)
    assert reopened.swept == ("load.users", "repeat")
    assert reopened.matrix() == resumption.matrix


def test_a_cell_that_reads_as_another_is_refused(store):
    manifest = store.manifest
    cell_id = manifest.order[0]
    cells = {**manifest.cells, cell_id: a_cell(users=77).canonical()}
    store.replace_manifest(manifest.model_copy(update={"cells": cells}))

    with pytest.raises(UserError, match=f"cell {cell_id} now reads as {a_cell(users=77).cell_id}"):
        resume(store, None, settings(), {})


def test_a_cell_that_no_longer_validates_names_the_key(store):
    manifest = store.manifest
    cell_id = manifest.order[0]
    plain = {**manifest.cells[cell_id], "unheard_of": 1}
    store.replace_manifest(manifest.model_copy(update={"cells": {**manifest.cells, cell_id: plain}}))

    with pytest.raises(UserError, match=f"cell {cell_id} cannot be read: unheard_of: Extra inputs"):
        resume(store, None, settings(), {})


def test_attempts_are_numbered_on():
    old = a_record(CELL, "failed", attempts=(an_attempt(1, "failed"), an_attempt(2, "failed")))
    merged = merged_attempts(old, [an_attempt(1, "failed"), an_attempt(2)])

    assert [attempt.number for attempt in merged] == [1, 2, 3, 4]
    assert [attempt.outcome for attempt in merged] == ["failed", "failed", "failed", "ok"]
    assert merged_attempts(None, [an_attempt(1)]) == (an_attempt(1),)


def test_clocks_and_boots_are_no_change_but_versions_are():
    old = {"boot_id": "a", "clock": {"unix_s": 1.0}, "versions": {"ray": "2.60.0", "vllm": "0.26.0"}}
    new = {"boot_id": "b", "clock": {"unix_s": 2.0}, "versions": {"ray": "2.61.0"}}
    assert provenance_changes(old, new) == (
        "changed since the last start: versions.ray was 2.60.0, is 2.61.0",
        "changed since the last start: versions.vllm was 0.26.0, is absent",
    )
