"""What a run says when its surroundings end it in the middle."""

import json

import pytest

from orchestrator.cli import main
from orchestrator.errors import EnvironmentFailure
from orchestrator.store.sweep import SweepStore

QUICK = ("executor=inline", "tracking=none", "load.num_workflows=4", "protocol.min_window_s=0")


def test_a_disk_that_fills_up_ends_in_exit_3_and_the_command_to_go_on(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, written = SweepStore.write, []

    def write_once(store, record, series):
        if written:
            raise EnvironmentFailure("cannot write: No space left on device")
        written.append(record.cell_id)
        return write(store, record, series)

    monkeypatch.setattr(SweepStore, "write", write_once)
    assert main(["-m", "engine.max_num_seqs=1,2", *QUICK]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["error"] == "cannot write: No space left on device"
    (command,) = [line for line in lines if line.startswith("resume with: python -m orchestrator ")]
    monkeypatch.setattr(SweepStore, "write", write)
    assert main(command.removeprefix("resume with: python -m orchestrator ").split()) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["ok"], line["skipped"]) == (2, 1)


def test_nothing_left_to_do_is_exit_0_without_an_executor(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["engine.max_num_seqs=2", *QUICK]) == 0
    monkeypatch.setattr("orchestrator.commands.run.InlineExecutor.start", lambda _: pytest.fail("started"))
    assert main(["engine.max_num_seqs=2", *QUICK, "resume=latest"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["skipped"] == 1


def test_a_cell_of_a_sweep_without_axes_is_told_by_its_id(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["engine.max_num_seqs=2", *QUICK, "protocol.min_window_s=1e6"]) == 1
    lines = capsys.readouterr().out.splitlines()
    (cell,) = [path.name for path in tmp_path.glob("runs/*/cells/*")]
    assert any(line.startswith(f"invalid: {cell}: window_too_short: ") for line in lines)
    assert any(": 1 invalid of 1 cell; results in " in line for line in lines)
