"""`ui`: what it refuses, and one real server that ends on Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from orchestrator import cli
from orchestrator.spec.settings import TrackingSettings
from orchestrator.tracking.mlflow_sink import MlflowSink


@pytest.fixture
def ended(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def ended(*arguments):
        code = cli.main(["ui", *arguments])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return ended


def a_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "prt=1",
            "ui: unknown option 'prt'; did you mean port? allowed: host, output, port, tracking.experiment, tracking",
        ),
        ("port=99999", "ui: port must be a number from 1 to 65535, got '99999'"),
        ("port=5001", "no results to show: there is no "),
    ],
)
def test_wrong_input_is_exit_2(ended, argument, message):
    code, fields = ended(argument)
    assert (code, fields["exit_code"]) == (2, 2)
    assert fields["error"].startswith(message)


def test_a_port_that_is_taken_is_exit_3(ended, tmp_path):
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, fields = ended(f"port={port}")
    assert code == 3
    assert fields["error"] == (
        f"cannot listen at 127.0.0.1:{port}: Address already in use; choose another with port=N or host=NAME"
    )


def test_a_server_elsewhere_that_does_not_respond_is_exit_3(ended):
    code, fields = ended(f"tracking.uri=http://127.0.0.1:{a_free_port()}")
    assert code == 3
    assert "does not respond" in fields["error"]


@pytest.mark.slow
def test_a_server_comes_up_on_the_runs_and_ends_with_its_children(tmp_path):
    MlflowSink.connect(TrackingSettings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"))
    port = a_free_port()
    ui = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "ui", f"port={port}"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert ui.stdout is not None
        message = ui.stdout.readline()
        address = f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning"
        assert message == f"MLflow: {address}\n"
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read() == b"OK"
        elsewhere = subprocess.run(
            [sys.executable, "-m", "orchestrator", "ui", f"tracking.uri=http://127.0.0.1:{port}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (elsewhere.returncode, elsewhere.stdout.splitlines()[0]) == (0, message.strip())
        os.kill(ui.pid, signal.SIGINT)
        out, _ = ui.communicate(timeout=30)
    finally:
        ui.kill()
    assert ui.returncode == 0
    assert json.loads(out.splitlines()[-1]) == {
        "command": "ui",
        "address": address,
        "tracking_uri": "sqlite:///mlflow.db",
    }
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)
