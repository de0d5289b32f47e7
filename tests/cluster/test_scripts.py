"""cluster/head.sh and worker.sh: a cluster of two nodes on this machine, and what is told when one cannot start."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
FAKES = ROOT / "tests" / "orchestrator" / "execution"
SCRIPTS = ROOT / "cluster"
DRIVER = """
import sys
from cell_functions import run_on_a_node
from sample_sweeps import a_cell
from orchestrator.errors import EnvironmentFailure
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.execution.scheduler import schedule
from orchestrator.settings import ClusterSettings

executor = RayExecutor(ClusterSettings(address=sys.argv[1]), run_on_a_node)
try:
    executor.start()
    for finished in schedule([a_cell(repeat=index) for index in range(8)], executor, max_attempts=1):
        print(finished.result.provenance["node"])
except EnvironmentFailure as error:
    sys.exit(str(error))
finally:
    executor.close()
"""


def _environment(**changed: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join(map(str, (FAKES, FAKES.parent, ROOT)))
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": path, **changed}


def _said(script: str, *arguments: str, env: Mapping[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [str(SCRIPTS / script), *arguments], capture_output=True, text=True, env=dict(env), timeout=60, check=False
    )
    return done.returncode, done.stderr or done.stdout


@pytest.mark.parametrize(("script", "arguments"), [("head.sh", ()), ("worker.sh", ("head:6379",))])
def test_without_a_token_nothing_starts(script, arguments, tmp_path):
    code, said = _said(script, *arguments, env=_environment(HOME=str(tmp_path)))
    assert code == 2
    assert said.startswith(f"{script}: no token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH")
    assert said.count("\n") == 1


@pytest.mark.parametrize("argument", ["", "head", "--num-cpus=1"])
def test_a_worker_needs_the_address_of_its_head(argument):
    code, said = _said("worker.sh", argument, env=_environment(RAY_AUTH_TOKEN="x"))
    assert (code, said) == (
        2,
        f"worker.sh: the head's HOST:PORT comes first, got '{argument}' (cluster/worker.sh --help)\n",
    )


def test_a_missing_ray_is_named(tmp_path):
    code, said = _said("head.sh", env={"PATH": "/usr/bin:/bin", "RAY_AUTH_TOKEN": "x", "HOME": str(tmp_path)})
    assert code == 3
    assert "no ray command on PATH" in said


@pytest.mark.parametrize("script", ["head.sh", "worker.sh"])
def test_help_shows_the_usage(script):
    code, said = _said(script, "--help", env=_environment())
    assert code == 0
    assert said.startswith(f"usage: RAY_AUTH_TOKEN=SECRET cluster/{script}")


@pytest.mark.parametrize("name", ["kuberay.yaml", "ray-cluster.yaml"])
def test_manifests_are_yaml_and_use_tokens(name):
    text = (SCRIPTS / name).read_text()
    assert isinstance(yaml.safe_load(text), dict)
    assert "mode: token" in text or "RAY_AUTH_MODE=token" in text


@pytest.mark.parametrize("script", ["head.sh", "worker.sh", "slurm.sbatch"])
def test_scripts_parse(script):
    subprocess.run(["bash", "-n", str(SCRIPTS / script)], check=True, timeout=20)


@dataclass(frozen=True)
class Cluster:
    address: str
    environment: dict[str, str]

    def drive(self, address: str | None = None, **changed: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", DRIVER, address or self.address],
            capture_output=True,
            text=True,
            env={**self.environment, **changed},
            timeout=120,
            check=False,
        )


def _port() -> int:
    """A free port that Ray's workers (10002 to 19999) leave alone."""
    while True:
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = int(probe.getsockname()[1])
        if port > 19999:
            return port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of one CPU, each in its own temporary folder; ended by SIGTERM to the scripts."""
    home = tmp_path_factory.mktemp("home")
    token = secrets.token_hex(16)
    env = _environment(RAY_AUTH_TOKEN=token, HOME=str(home), PORT=str(_port()))
    address = f"127.0.0.1:{env['PORT']}"
    small = ("--num-cpus=1", "--object-store-memory=80000000")
    with ExitStack() as stack:
        head = stack.enter_context(_node(env, "head.sh", *small, "--include-dashboard=false"))
        _wait_for(address, head)
        stack.enter_context(_node(env, "worker.sh", address, *small))
        yield Cluster(address, {**env, "RAY_AUTH_MODE": "token"})
    assert list(home.iterdir()) == []


@contextmanager
def _node(env: dict[str, str], script: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    temp_dir = Path("/tmp") / f"jg{secrets.token_hex(3)}"  # Ray's sockets allow no long path
    process = subprocess.Popen(
        [str(SCRIPTS / script), *arguments, f"--temp-dir={temp_dir}"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=45)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(temp_dir, ignore_errors=True)


def _wait_for(address: str, head: "subprocess.Popen[bytes]") -> None:
    host, port = address.split(":")
    for _ in range(300):
        assert head.poll() is None, "the head ended"
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nobody listens at {address}")


@pytest.mark.ray
@pytest.mark.slow
def test_cells_run_on_both_nodes(cluster):
    for _ in range(20):
        done = cluster.drive()
        nodes = set(done.stdout.split())
        if len(nodes) == 2:  # the second node joins a few seconds after the first
            break
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) == 8
    assert len(nodes) == 2


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "mode"), [({"RAY_AUTH_TOKEN": "wrong"}, "token"), ({"RAY_AUTH_MODE": "disabled"}, "disabled")]
)
def test_a_wrong_or_missing_token_is_one_line(cluster, changed, mode):
    began_s = time.monotonic()
    done = cluster.drive(**changed)
    assert done.returncode == 1
    assert done.stderr == (
        f"the Ray cluster at {cluster.address} refuses our token (RAY_AUTH_MODE is {mode}): set "
        "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token the cluster was started with\n"
    )
    assert time.monotonic() - began_s < 15  # Ray itself takes 20 s


@pytest.mark.ray
@pytest.mark.slow
def test_auto_joins_the_cluster_of_ray_address(cluster):
    done = cluster.drive("auto", RAY_ADDRESS=cluster.address)
    assert (done.returncode, len(done.stdout.split())) == (0, 8), done.stderr
