"""The JSON line that ends standard output: when it is printed, and what it leaves no trace in."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_presets import Ended, at

from orchestrator import cli
from orchestrator.spec.settings import Matrix, Settings


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


def test_output_is_stored_nowhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = (
        "executor=inline",
        "tracking=none",
        "load.num_workflows=4",
        "protocol.min_window_s=0",
        "engine.max_num_seqs=2",
    )
    assert cli.main(["engine.max_num_seqs=2", *quick, "output=json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ok"] == 1
    (manifest,) = tmp_path.glob("runs/*/sweep.json")
    assert "output" not in json.loads(manifest.read_text())["overrides"][0]
    assert "output=json" not in manifest.read_text()
    (report,) = tmp_path.glob("runs/*/report.html")
    assert "output=json" not in report.read_text()


def test_a_prediction_without_end_is_null(ended: Callable[..., Ended], presets: Path) -> None:
    code, fields, _ = ended("plan", *at(presets, "load=poisson", "load.request_rate=1e-306"))
    assert (code, fields["predicted_time_s"], fields["predicted_energy_j"]) == (0, None, None)


def test_a_reader_that_has_gone_costs_no_traceback() -> None:
    command = f"{sys.executable} -m orchestrator report nosuch | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
