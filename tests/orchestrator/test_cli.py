"""The command line: commands, exit codes, and the JSON line that ends every output."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_presets import CHOICES, write_plugins, write_presets

from orchestrator import cli
from orchestrator.errors import EnvironmentFailure, JoulegridError
from orchestrator.matrix.expand import Expansion
from orchestrator.matrix.matrix import build
from orchestrator.spec.settings import Matrix, Settings

Ended = tuple[int, dict[str, Any], str]


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for ``--config-dir``; the working directory is empty and somewhere else."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.syspath_prepend(write_plugins(tmp_path))
    return write_presets(tmp_path)


@pytest.fixture
def ended(presets: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Arguments to the exit code, the JSON of the last line on stdout, and stderr; nothing may have been written."""

    def run(*arguments: str) -> Ended:
        code = cli.main(arguments)
        out, err = capsys.readouterr()
        assert list(Path().iterdir()) == []
        return code, json.loads(out.splitlines()[-1]), err

    return run


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Matrix, Settings]]:
    """What a stand-in for the `run` command was given."""
    calls: list[tuple[Matrix, Settings]] = []
    command = types.ModuleType("orchestrator.commands.run")

    def run(matrix: Matrix, settings: Settings) -> cli.CommandResult:
        calls.append((matrix, settings))
        return cli.CommandResult(1, {})

    command.run = run  # type: ignore[attr-defined]
    _stand_in(monkeypatch, command)
    return calls


def _stand_in(monkeypatch: pytest.MonkeyPatch, command: types.ModuleType) -> None:
    name = command.__name__.rpartition(".")[2]
    load, available = cli.plugins.load, cli.plugins.available

    def named(package: str) -> tuple[str, ...]:
        return ("plan", name) if package == "orchestrator.commands" else available(package)

    monkeypatch.setattr(cli.plugins, "available", named)
    monkeypatch.setattr(cli.plugins, "load", lambda package, kind: command if kind == name else load(package, kind))


def at(presets: Path, *arguments: str) -> list[str]:
    return ["--config-dir", str(presets), *CHOICES, *arguments]


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


@pytest.fixture
def at_a_terminal(presets: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[str]]]:
    """Run a command with a terminal as standard output; the exit code and the lines it shows."""

    def run(*arguments: str) -> tuple[int, list[str]]:
        controller, terminal = pty.openpty()
        with monkeypatch.context() as patched, os.fdopen(terminal, "w") as stdout:
            patched.setattr(sys, "stdout", stdout)
            code = cli.main(arguments)
            print("end", flush=True)
            shown = b""
            while not shown.endswith(b"end\r\n"):
                shown += os.read(controller, 65536)
        os.close(controller)
        return code, shown.decode().splitlines()[:-1]

    return run


def test_a_terminal_shows_no_json_unless_output_asks_for_it(
    presets: Path, at_a_terminal: Callable[..., tuple[int, list[str]]], ended: Callable[..., Ended]
) -> None:
    arguments = ["plan", *at(presets, "+sweep=batch")]
    code, people = at_a_terminal(*arguments)
    assert code == 0
    assert any("plan of batch" in line for line in people)
    assert not [line for line in people if line.startswith("{")]
    _, with_json = at_a_terminal(*arguments, "output=json")
    assert with_json[:-1] == people
    assert json.loads(with_json[-1]) == ended(*arguments)[1] == ended(*arguments, "output=auto")[1]


def test_an_error_at_a_terminal_goes_to_standard_error_alone(
    at_a_terminal: Callable[..., tuple[int, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert at_a_terminal("compare", "a") == (2, [])
    message = "compare takes two sweeps (ids or folders), got a"
    assert capsys.readouterr().err == f"error: {message}\n"
    code, shown = at_a_terminal("compare", "a", "output=json")
    assert (code, json.loads(shown[-1])) == (2, {"command": "compare", "error": message, "exit_code": 2})
    assert at_a_terminal("report", "--help") == (
        0,
        ["usage: python -m orchestrator report [SWEEP] [runs_dir=runs] [output=auto|json]"],
    )


@pytest.mark.parametrize("command", ["plan", "compare", "ui"])
def test_every_command_refuses_another_output(command: str, ended: Callable[..., Ended]) -> None:
    code, fields, _ = ended(command, "output=yaml")
    assert (code, fields["error"]) == (2, "output: must be 'auto' or 'json', got 'yaml'")


def test_output_may_stand_in_a_sweep_file_and_is_part_of_no_cell(
    presets: Path, at_a_terminal: Callable[..., tuple[int, list[str]]], ran: list[tuple[Matrix, Settings]]
) -> None:
    text = (presets / "sweep" / "batch.yaml").read_text()
    (presets / "sweep" / "json.yaml").write_text(text + "output: json\n")
    for sweep in ("batch", "json"):
        cli.main(at(presets, f"+sweep={sweep}"))
    (plain, _), (same, settings) = ran
    assert same.cells == plain.cells
    assert settings.output == "json"
    _, shown = at_a_terminal("plan", *at(presets, "+sweep=json"))
    assert json.loads(shown[-1])["command"] == "plan"


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
    _stand_in(monkeypatch, command)
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
