"""The command line: commands, exit codes, and the JSON line that ends every output."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_presets import CHOICES, Ended, at, stand_in, write_plugins, write_presets

from orchestrator import cli
from orchestrator.errors import EnvironmentFailure, JoulegridError
from orchestrator.matrix.expand import Expansion
from orchestrator.matrix.matrix import build
from orchestrator.spec.settings import Matrix, Settings


@pytest.mark.parametrize("word", [[], ["run"]])
def test_run_is_the_command_where_none_is_named(
    presets: Path, ran: list[tuple[Matrix, Settings]], word: list[str]
) -> None:
    assert cli.main([*word, *at(presets, "+sweep=batch", "executor=inline")]) == 1
    ((matrix, settings),) = ran
    assert (len(matrix.cells), settings.executor) == (4, "inline")


def test_plan_ends_in_one_json_line(presets: Path, ended: Callable[..., Ended]) -> None:
    code, fields, _ = ended("plan", *at(presets, "+sweep=batch", "repeat=0,1", "+engine.tensor_parallel_size=1,4"))
    predicted = fields.pop("predicted_time_s"), fields.pop("predicted_energy_j")
    assert min(predicted) > 0
    assert (code, fields) == (
        0,
        {
            "command": "plan",
            "sweep": "batch",
            "cells": 16,
            "least_cells": 16,
            "infeasible": 8,
            "engine_starts": {**fields["engine_starts"], "fewest_starts": 2},
            "unpredicted": 0,
            "simulated": True,
        },
    )
    assert fields["engine_starts"].keys() == {"shuffled", "counterbalanced", "fewest_starts"}
    assert all(fields["engine_starts"][order] in (3, 4) for order in ("shuffled", "counterbalanced"))


def test_plan_shows_the_axes_and_what_cannot_run(presets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["plan", *at(presets, "+sweep=batch", "+engine.tensor_parallel_size=1,4", "model.max_model_len=9999")])
    out = capsys.readouterr().out
    assert "hardware.power_limit_w" in out
    assert "200, 400" in out
    assert "8, 4 of them infeasible" in out
    assert out.count("needs more GPUs than the node has") == 4
    assert "note: bench-8b: a context of 9999 tokens is longer than the 8192 it was trained for" in out


def test_auto_is_told_in_a_note(presets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(
        ["plan", "--config-dir", str(presets), "model=bench", "workflow=bench", "engine.kind=bench_plugins.engine"]
    )
    out = capsys.readouterr().out
    assert "note: engine=auto: the simulated engine, because" in out
    assert "note: hardware=auto: the figures of NVIDIA A100" in out


def test_wrong_input_is_code_2_and_one_line(presets: Path, ended: Callable[..., Ended]) -> None:
    code, fields, err = ended("plan", *at(presets, "engine.max_num_seqs=0"))
    message = "engine.max_num_seqs: must be at least 1, got 0"
    assert (code, fields) == (2, {"command": "plan", "error": message, "exit_code": 2})
    assert err == f"error: {message}\n"


def test_a_word_that_is_no_command_lists_the_commands(ended: Callable[..., Ended]) -> None:
    code, fields, _ = ended("paln", "+sweep=batch")
    assert code == 2
    assert fields["error"].startswith("'paln' is neither a command nor an override; did you mean plan? allowed: ")


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (EnvironmentFailure("the cluster\n  is gone"), 3, "the cluster is gone"),
        (JoulegridError("two cells failed"), 1, "two cells failed"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (SystemExit(5), 1, "SystemExit: 5 (HYDRA_FULL_ERROR=1 shows where)"),
        (RuntimeError("a fault of ours"), 1, "RuntimeError: a fault of ours (HYDRA_FULL_ERROR=1 shows where)"),
    ],
)
def test_how_a_command_failed_is_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, ended: Callable[..., Ended], raised: BaseException, code: int, message: str
) -> None:
    command = types.ModuleType("orchestrator.commands.report")

    def main(arguments: list[str]) -> None:
        assert arguments == ["SWEEP", "--open"]
        raise raised

    command.main = main  # type: ignore[attr-defined]
    stand_in(monkeypatch, command)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert ended("report", "SWEEP", "--open")[:2] == (code, {"command": "report", "error": message, "exit_code": code})


def test_a_traceback_is_shown_where_hydras_switch_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, presets: Path, ended: Callable[..., Ended]
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    _, _, err = ended("plan", *at(presets, "engine.max_num_seqs=0"))
    assert "Traceback" in err
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_help_shows_the_commands(presets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *at(presets), "--help"]) == 0
    out = capsys.readouterr().out
    assert "python -m orchestrator plan +sweep=NAME" in out
    assert "--hydra-help" in out


@pytest.fixture
def outside(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the module in a process of its own, in an empty folder outside the checkout."""
    folder, path = tmp_path / "outside", write_plugins(tmp_path)
    folder.mkdir()
    presets = write_presets(tmp_path)

    def run(*arguments: str, stdout: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
        checkout = str(Path(cli.__file__).parents[1])
        process = subprocess.run(
            [sys.executable, "-m", "orchestrator", "plan", "--config-dir", str(presets), *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([checkout, str(path)])},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert list(folder.iterdir()) == []
        return process

    return run


def test_a_process_plans(outside: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    process = outside(*CHOICES, "+sweep=batch")
    assert (process.returncode, process.stderr) == (0, "")
    assert json.loads(process.stdout.splitlines()[-1])["cells"] == 4


def test_a_process_refuses(outside: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    process = outside(*CHOICES, "hardware.power_limit_w=9000")
    message = "hardware.power_limit_w must be 100 to 400 W on bench-gpu, got 9000"
    assert (process.returncode, process.stderr) == (2, f"error: {message}\n")
    assert json.loads(process.stdout) == {"command": "plan", "error": message, "exit_code": 2}


@pytest.mark.parametrize("shown", ["--help", "+sweep=batch"])
def test_a_reader_that_goes_is_no_error(outside: Callable[..., "subprocess.CompletedProcess[str]"], shown: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = outside(*CHOICES, shown, stdout=writer)
    os.close(writer)
    assert (process.returncode, process.stderr) == (1, "")


def test_a_process_shows_hydras_configuration(outside: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    process = outside(*CHOICES, "--cfg", "job")
    assert process.returncode == 0
    assert "max_num_batched_tokens: 2048" in process.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_library_loses_while_composing_still_ends_the_command(
    monkeypatch: pytest.MonkeyPatch, presets: Path, ended: Callable[..., Ended], number: int
) -> None:
    """In CPython's C code, and in libraries that catch everything, a `KeyboardInterrupt` may get lost."""

    def lossy(expansion: Expansion) -> tuple[Matrix, Settings]:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(1)
        return build(expansion)

    monkeypatch.setattr("orchestrator.matrix.matrix.build", lossy)
    code, fields, err = ended("plan", *at(presets, "+sweep=batch"))
    assert (code, fields["error"], err) == (130, "interrupted", "error: interrupted\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output_is_no_error(tmp_path: Path, closed: str) -> None:
    presets, path = write_presets(tmp_path), write_plugins(tmp_path)
    checkout = str(Path(cli.__file__).parents[1])
    words = [sys.executable, "-m", "orchestrator", "plan", "--config-dir", str(presets), *CHOICES, "+sweep=batch"]
    process = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([checkout, str(path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
