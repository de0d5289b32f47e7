import json
import logging
import os
import stat

import pyarrow as pa
import pytest
from sample_sweeps import a_cell, a_matrix, a_record, an_attempt, settings, some_series

from orchestrator.errors import CellError, EnvironmentFailure, UserError
from orchestrator.store.sweep import SweepStore, prepare_runs_dir

CELL = a_cell(users=1)


def test_what_is_written_is_read_back(store):
    written = store.write(a_record(CELL), some_series())

    again = SweepStore.open(store.paths.root)

    assert again.manifest == store.manifest
    assert again.read_record(CELL.cell_id) == written
    assert written.series == ("power", "requests")
    assert again.read_series(written, "power").equals(some_series()["power"], check_metadata=True)
    assert list(again.records()) == [written]


def test_a_cell_without_a_record_is_none(store):
    assert store.read_record(CELL.cell_id) is None
    assert list(store.records()) == []


def test_equal_records_are_equal_bytes_and_nothing_else_is_left_in_the_folder(store):
    path = store.paths.cell(CELL.cell_id).record
    store.write(a_record(CELL, metrics={"b": 1.0, "a": 2.0}), some_series())
    first = path.read_bytes()
    (path.parent / ".record.json.999.tmp").write_bytes(b"a killed writer's")

    store.write(a_record(CELL, metrics={"a": 2.0, "b": 1.0}), some_series())

    assert path.read_bytes() == first
    assert {p.name for p in path.parent.iterdir()} == {"record.json", "power.parquet", "requests.parquet"}


def test_records_come_in_the_order_of_the_matrix(runs_dir):
    cells = [a_cell(users=users) for users in (3, 1, 2)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {})
    for cell in reversed(cells):
        store.write(a_record(cell), {})

    assert [record.cell_id for record in store.records()] == [cell.cell_id for cell in cells]


def test_a_new_attempt_replaces_series_the_record_no_longer_names(store):
    store.write(a_record(CELL, "invalid", transient=(True,)), some_series())
    store.write(a_record(CELL, "failed", attempts=(an_attempt(1), an_attempt(2, "failed"))), {})

    assert [path.name for path in store.paths.cell(CELL.cell_id).folder.iterdir()] == ["record.json"]


def test_series_of_a_later_attempt_are_not_taken_for_those_of_the_record(store):
    record = store.write(a_record(CELL, "invalid", transient=(True,)), some_series())
    path = store.paths.cell(CELL.cell_id).record
    old = path.read_bytes()
    store.write(a_record(CELL, attempts=(an_attempt(1), an_attempt(2))), some_series(rows=5))
    path.write_bytes(old)  # as a driver leaves it that is killed before the record's rename

    with pytest.raises(UserError, match="belongs to another attempt than its record"):
        store.read_series(record, "power")


def test_asking_for_a_series_that_is_not_there_names_those_that_are(store):
    record = store.write(a_record(CELL), some_series())

    with pytest.raises(UserError, match=f"cell {CELL.cell_id} has no series 'steps'; it has: power, requests"):
        store.read_series(record, "steps")


def test_a_damaged_series_is_named(store):
    record = store.write(a_record(CELL), some_series())
    path = store.paths.cell(CELL.cell_id).series("power")
    path.write_bytes(b"PAR1 and then nothing")

    with pytest.raises(UserError) as caught:
        store.read_series(record, "power")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cell_id": "x"}', b"\xff\xfe"])
def test_a_damaged_record_counts_as_missing_with_a_warning_that_names_it(store, caplog, content):
    store.write(a_record(CELL), {})
    path = store.paths.cell(CELL.cell_id).record
    path.write_bytes(content)

    with caplog.at_level(logging.WARNING):
        assert store.read_record(CELL.cell_id) is None
    assert f"{path} is damaged and counts as missing" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema_version": 1}'])
def test_a_damaged_manifest_is_named_in_one_line(store, content):
    store.paths.manifest.write_text(content)

    with pytest.raises(UserError) as caught:
        SweepStore.open(store.paths.root)
    assert f"{store.paths.manifest} is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_of_another_schema_is_refused(store):
    plain = json.loads(store.paths.manifest.read_text())
    store.paths.manifest.write_text(json.dumps({**plain, "schema_version": 99}))

    with pytest.raises(UserError, match="has schema version 99; this Joulegrid reads version 1"):
        SweepStore.open(store.paths.root)


def test_a_folder_without_manifest_is_no_sweep(tmp_path):
    with pytest.raises(UserError, match=r"is not a sweep: it has no sweep\.json"):
        SweepStore.open(tmp_path)


def test_a_metric_that_is_no_number_is_the_cells_error_and_writes_nothing(store):
    with pytest.raises(CellError, match=f"cell {CELL.cell_id}: not a finite number: b"):
        store.write(a_record(CELL, metrics={"a": 1.0, "b": float("nan")}), some_series())
    assert not store.paths.cell(CELL.cell_id).folder.exists()


def test_sweeps_created_at_once_have_folders_of_their_own_in_order(runs_dir):
    ids = [SweepStore.create(runs_dir, a_matrix(), settings(), {}).sweep_id for _ in range(20)]

    assert len(set(ids)) == 20
    assert ids == sorted(ids)


def test_prepare_makes_the_folder_and_leaves_nothing_in_it(runs_dir):
    prepare_runs_dir(runs_dir / "deep")
    assert list((runs_dir / "deep").iterdir()) == []


def test_a_file_where_the_folder_should_be_is_the_environment(tmp_path):
    (tmp_path / "runs").write_text("not a folder")

    with pytest.raises(EnvironmentFailure, match=r"cannot write .*runs: File exists; runs_dir must be a folder"):
        prepare_runs_dir(tmp_path / "runs")
    with pytest.raises(EnvironmentFailure, match=r"cannot write .*Not a directory"):
        prepare_runs_dir(tmp_path / "runs" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_the_environment(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(EnvironmentFailure, match=r"cannot write .*Permission denied"):
        prepare_runs_dir(tmp_path / "runs")


@pytest.mark.parametrize("which", ["series", "record"])
def test_a_full_disk_is_the_environment_and_leaves_the_old_record(store, monkeypatch, which):
    old = store.write(a_record(CELL, "invalid", transient=(True,)), {})
    real = os.fsync
    calls = iter([real, full_disk] if which == "record" else [full_disk])

    def fsync(descriptor: int) -> None:
        next(calls, real)(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    with pytest.raises(EnvironmentFailure, match=r"No space left on device; free some space"):
        store.write(a_record(CELL, attempts=(an_attempt(1), an_attempt(2))), some_series() if which == "series" else {})

    assert store.read_record(CELL.cell_id) == old
    assert not list(store.paths.cell(CELL.cell_id).folder.glob(".*"))


def full_disk(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_pyarrow_hides_no_full_disk(store, monkeypatch):
    def write_table(table: pa.Table, file: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.store.sweep.pq.write_table", write_table)
    with pytest.raises(EnvironmentFailure, match="free some space"):
        store.write(a_record(CELL), some_series())
