"""A cluster of two nodes on this machine, started by the shipped scripts."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FAKES = ROOT / "tests" / "orchestrator"
SCRIPTS = ROOT / "cluster"
DRIVER = """
import sys
from cell_functions import run_on_a_node
from sample_sweeps import a_cell
from orchestrator.errors import EnvironmentFailure
from orchestrator.lanes.executor import RayExecutor
from orchestrator.sweep.scheduler import schedule
from orchestrator.spec.settings import ClusterSettings

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


def environment(**changed: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join(map(str, (FAKES, ROOT)))
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": path, **changed}


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

    def joulegrid(self, folder: Path, *arguments: str, **changed: str) -> "subprocess.CompletedProcess[str]":
        """The product's command on this cluster."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**self.environment, **changed},
            timeout=240,
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


@contextmanager
def two_nodes(home: Path) -> Iterator[Cluster]:
    """Two nodes of one CPU, each in its own temporary folder; ended by SIGTERM to the scripts."""
    token = secrets.token_hex(16)
    env = environment(RAY_AUTH_TOKEN=token, HOME=str(home), PORT=str(_port()))
    address = f"127.0.0.1:{env['PORT']}"
    small = ("--num-cpus=1", "--object-store-memory=80000000")
    with ExitStack() as stack:
        head = stack.enter_context(_node(env, "head.sh", *small, "--include-dashboard=false"))
        _wait_for(address, head)
        stack.enter_context(_node(env, "worker.sh", address, *small))
        yield Cluster(address, {**env, "RAY_AUTH_MODE": "token"})


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
