import json

from sample_sweeps import a_cell, a_matrix, a_record, settings

from orchestrator.store.sweep import SweepStore
from orchestrator.tracking.mlflow_sink import SWEEP_ID, MlflowSink
from orchestrator.tracking.run_content import colour_tag, runs_address, saved_view
from orchestrator.tracking.sweep_log import SweepLog


def a_store(runs_dir, swept=("engine.max_num_seqs", "load.users")):
    return SweepStore.create(runs_dir, a_matrix(swept=swept), settings(), {})


def test_the_table_shows_the_cells_by_what_was_swept_least_energy_first(runs_dir):
    store = a_store(runs_dir)
    key, value = saved_view(store.manifest, SWEEP_ID)
    view = json.loads(value)
    state = json.loads(view["state"])
    assert key == f"mlflow.sharedViewState.{store.sweep_id}"
    assert view["name"] == store.sweep_id
    assert isinstance(view["createdAt"], int)
    assert state["searchFilter"].startswith(f"tags.`joulegrid.sweep_id` = '{store.sweep_id}' and ")
    assert state["selectedColumns"][0] == "metrics.`gpu_energy_j_per_workflow`"
    assert state["selectedColumns"][-7:] == [
        "params.`engine.max_num_seqs`",
        "params.`load.users`",
        "tags.`status`",
        "tags.`reasons`",
        "tags.`energy`",
        "tags.`cap_effect`",
        "tags.`simulated`",
    ]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`gpu_energy_j_per_output_token`", True)
    assert state["columnOrder"] == list(state["columnWidths"])


def test_a_view_that_no_tag_would_hold_is_left_out(runs_dir):
    swept = tuple(f"engine.option_number_{i}" for i in range(60))
    assert saved_view(a_store(runs_dir, swept).manifest, SWEEP_ID) is None


def test_the_filter_of_the_view_finds_the_cells_and_not_their_parent(tracking, client, new_sweep):
    store = new_sweep()
    sink = MlflowSink.connect(tracking)
    log = SweepLog(sink, store)
    for cell_id in log.unlogged():
        log.log_cell(cell_id)
    tags = client.get_experiment(sink.experiment_id).tags
    state = json.loads(json.loads(tags[f"mlflow.sharedViewState.{store.sweep_id}"])["state"])
    runs = client.search_runs([sink.experiment_id], state["searchFilter"], order_by=[f"{state['orderByKey']} ASC"])
    assert {run.info.run_name for run in runs} == {"users=1", "users=2"}
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert sink.newest_sweep() == store.sweep_id


def test_an_address_opens_the_table():
    at = "http://localhost:5000"
    assert runs_address(at + "/", "3", "s-1") == (
        f"{at}/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=s-1"
    )
    assert runs_address(at, "3", None).endswith("/#/experiments/3/runs?workflowType=machine_learning")


def test_each_choice_has_its_colour(runs_dir):
    cells = [a_cell(users=1), a_cell(users=2)]
    other = cells[1].model_copy(update={"model": cells[1].model.model_copy(update={"name": "other"})})
    manifest = SweepStore.create(runs_dir, a_matrix(cells[0], other, swept=("model.name",)), settings(), {}).manifest
    colours = [colour_tag(manifest, a_record(cell))["mlflow.runColor"] for cell in (cells[0], other)]
    assert colours == ["#0072B2", "#E69F00"]
    assert colour_tag(a_store(runs_dir).manifest, a_record(cells[0])) == {}
