import logging
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sample_sweeps import a_cell, a_matrix, a_record, an_attempt, settings

from orchestrator import load_sweep
from orchestrator.analysis.results import results_table, write_results
from orchestrator.errors import EnvironmentFailure, UserError
from orchestrator.records.metrics import BY_KEY
from orchestrator.store.sweep import SweepStore


@pytest.fixture
def swept(runs_dir) -> SweepStore:
    """An ok, an invalid and a failed cell; a fourth was never run."""
    cells = [a_cell(users=1), a_cell(users=2, power_limit_w=300), a_cell(users=3), a_cell(users=4)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {})
    store.write(a_record(cells[2], "failed", metrics={}, attempts=(an_attempt(1, "failed"),)), {})
    store.write(a_record(cells[1], "invalid", transient=(True, False), metrics={"num_requests": 4.0}), {})
    store.write(a_record(cells[0], metrics={"num_requests": 10.0, "my_own_metric": 1.5}), {})
    return store


def test_one_row_for_each_recorded_cell_in_the_order_of_the_matrix(swept):
    frame = load_sweep(swept.sweep_id, runs_dir=swept.paths.root.parent)

    assert list(frame["cell_id"]) == list(swept.manifest.order[:3])
    assert list(frame["status"]) == ["ok", "invalid", "failed"]
    assert list(frame["reasons"]) == ["", "reason_0, reason_1", ""]
    assert frame["error"].iloc[2] == "ValueError: boom"
    assert list(frame["simulated"]) == [True, True, True]
    assert list(frame["load.users"]) == [1, 2, 3]


def test_the_configuration_has_its_defaults_and_metrics_not_measured_are_nan(swept):
    frame = load_sweep(swept.paths.root)

    assert list(frame["engine.block_size"]) == [16, 16, 16]
    assert frame["hardware.power_limit_w"].iloc[1] == 300
    assert pd.isna(frame["hardware.power_limit_w"].iloc[0])
    assert list(frame["num_requests"].iloc[:2]) == [10.0, 4.0]
    assert frame["num_requests"].isna().tolist() == [False, False, True]
    assert frame["total_gpu_energy_j"].isna().all()
    assert frame["my_own_metric"].iloc[0] == 1.5
    assert set(BY_KEY) <= set(frame.columns)


def test_the_written_files_hold_the_same_table_and_equal_sweeps_equal_bytes(swept):
    write_results(swept)
    first = swept.paths.results_csv.read_bytes(), swept.paths.results_parquet.read_bytes()
    write_results(swept)

    expected = load_sweep(swept.paths.root)
    pd.testing.assert_frame_equal(pd.read_parquet(swept.paths.results_parquet), expected)
    csv = pd.read_csv(swept.paths.results_csv)
    assert list(csv.columns) == list(expected.columns)
    assert list(csv["load.users"]) == [1, 2, 3]
    assert csv["num_requests"].isna().tolist() == [False, False, True]
    assert first == (swept.paths.results_csv.read_bytes(), swept.paths.results_parquet.read_bytes())


def test_a_sweep_without_records_is_an_empty_table_with_every_metric(store):
    frame = load_sweep(store.paths.root)
    assert len(frame) == 0
    assert {"cell_id", "status", *BY_KEY} <= set(frame.columns)


def test_a_key_that_is_a_number_here_and_text_there_is_text():
    plain = a_cell().canonical()
    record = a_record(a_cell())
    mixed = [
        record.model_copy(update={"cell": {**plain, "workflow": {"kind": "no_such_plugin", "size": size}}})
        for size in (1, "large", None)
    ]
    assert results_table(mixed)["workflow.size"].to_pylist() == ["1", "large", None]


def test_a_cell_this_version_cannot_read_keeps_what_was_recorded_and_says_so(caplog):
    record = a_record(a_cell()).model_copy(update={"cell": {**a_cell().canonical(), "gone": 1}})
    with caplog.at_level(logging.WARNING):
        table = results_table([record])
    assert table["gone"].to_pylist() == [1]
    assert f"cell {record.cell_id}: defaults are not filled in" in caplog.text


def test_an_unknown_sweep_is_the_users_error(runs_dir):
    with pytest.raises(UserError, match="there is no sweep 'x'"):
        load_sweep("x", runs_dir=runs_dir)


def test_results_that_cannot_be_written_are_the_environment(swept):
    swept.paths.results_csv.mkdir()
    with pytest.raises(EnvironmentFailure, match=r"cannot write .*results\.csv"):
        write_results(swept)


def test_importing_results_does_not_import_pandas():
    code = "import sys; import orchestrator.analysis.results; print('pandas' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.strip() == "False"


def test_the_package_alone_loads_nothing_heavy():
    code = "import sys, orchestrator; assert not {'pandas', 'pyarrow', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
