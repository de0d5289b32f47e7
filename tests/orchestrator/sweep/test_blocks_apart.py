"""An interval within a window is never pooled, compared, recommended by or waited for: it says nothing of repeats."""

import pytest
from pydantic import ValidationError
from sample_sweeps import a_cell, a_matrix, a_record, settings

from orchestrator import load_sweep
from orchestrator.analysis.pooling import pooled_table
from orchestrator.analysis.results import results_table
from orchestrator.cli import main
from orchestrator.records.metrics import BLOCK_HALF_WIDTH, BY_KEY, OF_CELLS
from orchestrator.spec.settings import StopRule
from orchestrator.store.sweep import SweepStore

TOKEN = "gpu_energy_j_per_output_token"


KEY = BLOCK_HALF_WIDTH + TOKEN


@pytest.fixture
def store(runs_dir):
    cells = [a_cell(repeat=repeat) for repeat in range(3)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {})
    for index, cell in enumerate(cells):
        store.write(a_record(cell, metrics={TOKEN: 1.0 + 0.1 * index, KEY: 0.05, "num_blocks": 10.0}), {})
    return store


def test_results_have_a_column_of_it_after_the_metrics(store):
    table = results_table(store.records())
    assert table.column(KEY).to_pylist() == [0.05] * 3
    assert table.column_names.index(TOKEN) < table.column_names.index(KEY) < table.column_names.index("num_blocks")
    assert load_sweep(store.paths.root)[KEY].tolist() == [0.05] * 3


def test_repeats_have_the_interval_of_repeats_alone(store):
    table = pooled_table(store.records())
    assert table.column("half_width:" + TOKEN).to_pylist() == pytest.approx([4.302652730 * 0.1 / 3**0.5])
    assert not [name for name in table.column_names if BLOCK_HALF_WIDTH in name]


def test_nothing_is_compared_or_stopped_by_it(store, capsys):
    where = ("compare", str(store.paths.root), str(store.paths.root))
    assert main([*where, f"metrics={KEY}"]) == 2
    assert "there is no metric" in capsys.readouterr().err
    assert main([*where, "metrics=all"]) == 0
    assert BLOCK_HALF_WIDTH not in capsys.readouterr().out
    with pytest.raises(ValidationError, match="is no metric"):
        StopRule(metric=KEY)


def test_no_way_of_it_is_better():
    keys = [key for key in BY_KEY if key not in OF_CELLS]
    assert KEY in keys
    assert {BY_KEY[key].better for key in keys} == {"neither"}
    assert all(BY_KEY[key].unit == BY_KEY[key.removeprefix(BLOCK_HALF_WIDTH)].unit for key in keys)


def test_mlflow_takes_the_name():
    from mlflow.utils.validation import _validate_metric_name

    for key in BY_KEY:
        _validate_metric_name(key)
