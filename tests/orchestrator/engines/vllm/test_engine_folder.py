"""The folder of an engine, and the removal of abandoned ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.engines.vllm import core


@pytest.fixture(autouse=True)
def own_tmp(tmp_path, monkeypatch):
    monkeypatch.setattr(core.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def made_by_another_process(tmp_path):
    """Return the folder of a process that has ended."""
    code = "from orchestrator.engines.vllm.core import new_folder; path = new_folder(); path.mkdir(); print(path)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return tmp_path / Path(ran.stdout.strip()).name


def test_only_the_folder_of_an_ended_owner_is_removed(own_tmp):
    abandoned, own, other = made_by_another_process(own_tmp), core.new_folder(), own_tmp / "joulegrid-vllm-notes"
    for path in (own, other):
        path.mkdir()
    (abandoned / "engine.log").write_text("killed")
    core.remove_abandoned()
    assert set(own_tmp.iterdir()) == {own, other}


def test_a_later_process_with_the_same_pid_is_another_owner(own_tmp):
    own = core.new_folder()
    namespace, pid, started, rest = own.name.removeprefix("joulegrid-vllm-").split("-")
    older = own_tmp / f"joulegrid-vllm-{namespace}-{pid}-{int(started) - 1}-{rest}"
    elsewhere = own_tmp / f"joulegrid-vllm-{int(namespace) + 1}-{pid}-{int(started) - 1}-{rest}"
    for path in (own, older, elsewhere):
        path.mkdir()
    core.remove_abandoned()
    assert set(own_tmp.iterdir()) == {own, elsewhere}
