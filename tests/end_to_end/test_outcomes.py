"""How a sweep ends when something is wrong with a cell, the tracking or the folder."""

import socket
from pathlib import Path

from tests.end_to_end.command import cells_in_mlflow, joulegrid, sweep_folder

INLINE = ("executor=inline", "protocol.min_window_s=0", "load.num_workflows=8")


def test_an_infeasible_cell_is_named_first_recorded_failed_and_costs_no_other(tmp_path: Path):
    ended = joulegrid(
        tmp_path, "-m", "model=llama3_1_8b,llama3_1_70b", "hardware=a100_40gb_sxm", *INLINE, "tracking=none"
    )
    assert ended.code == 1
    assert (ended.line["ok"], ended.line["failed"]) == (1, 1)
    first = ended.out.splitlines()[0]
    assert "Llama-3.1-70B" in first
    assert "131.4 GiB" in first
    from orchestrator import load_sweep

    frame = load_sweep(sweep_folder(tmp_path)).set_index("model.name")
    failed = frame.loc["meta-llama/Llama-3.1-70B-Instruct"]
    assert failed["status"] == "failed"
    assert "131.4 GiB" in failed["error"]
    assert frame.loc["meta-llama/Llama-3.1-8B-Instruct", "status"] == "ok"


def test_a_dead_mlflow_is_one_warning_and_sync_uploads_later(tmp_path: Path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"tracking.uri=http://127.0.0.1:{unused.getsockname()[1]}"
    ended = joulegrid(tmp_path, "-m", "engine.max_num_seqs=1,2", *INLINE, dead)
    assert ended.code == 0, ended.err
    assert ended.line["ok"] == 2
    warnings = [line for line in ended.err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1, warnings
    assert "sync" in warnings[0]
    synced = joulegrid(tmp_path, "sync", "tracking.uri=sqlite:///mlflow.db")
    assert synced.code == 0, synced.err
    assert len(cells_in_mlflow(tmp_path)) == 2


def test_a_folder_that_cannot_be_made_is_exit_3(tmp_path: Path):
    ended = joulegrid(tmp_path, *INLINE, "tracking=none", "runs_dir=/proc/joulegrid")
    assert ended.code == 3
    assert "/proc/joulegrid" in ended.line["error"]


def test_a_file_where_the_folder_should_be_is_exit_3(tmp_path: Path):
    (tmp_path / "runs").write_text("in the way")
    ended = joulegrid(tmp_path, *INLINE, "tracking=none")
    assert ended.code == 3
    assert "runs" in ended.line["error"]
    assert (tmp_path / "runs").read_text() == "in the way"


def test_wrong_input_writes_nothing(tmp_path: Path):
    ended = joulegrid(tmp_path, "+sweep=batch_powercap", "engine.max_num_seqs=0")
    assert ended.code == 2
    assert ended.line == {"command": "run", "error": "engine.max_num_seqs: must be at least 1, got 0", "exit_code": 2}
    assert ended.err == "error: engine.max_num_seqs: must be at least 1, got 0\n"
    assert list(tmp_path.iterdir()) == []


def test_a_changed_matrix_is_refused_on_resume_and_extended_on_request(tmp_path: Path):
    begun = joulegrid(tmp_path, "-m", "engine.max_num_seqs=1,2", *INLINE, "tracking=none")
    assert begun.code == 0, begun.err
    changed = ("-m", "engine.max_num_seqs=1,2,4", *INLINE, "tracking=none", "resume=latest")
    refused = joulegrid(tmp_path, *changed)
    assert refused.code == 2
    assert "engine.max_num_seqs" in refused.line["error"]
    extended = joulegrid(tmp_path, *changed, "extend=true")
    assert extended.code == 0, extended.err
    assert (extended.line["cells"], extended.line["ok"], extended.line["skipped"]) == (3, 3, 2)
