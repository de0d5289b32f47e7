"""A Ray of our own, held by a process in a session of its own.

Ray ends its processes with the thread that started them, and a signal to the driver's process group (`timeout`,
a terminal, a batch system) would end them under the driver's feet, which then hangs and aborts. Here they belong to
a keeper that hears no such signal and shuts Ray down once its standard input ends: when the driver says so, or dies.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import EnvironmentFailure

_OBJECT_STORE_BYTES = 200 * 2**20
_STOP_TIMEOUT_S = 4.0


@dataclass(frozen=True, slots=True)
class LocalRay:
    """A running keeper: where its Ray listens, and how to end it."""

    address: str
    temp_dir: Path
    keeper: "subprocess.Popen[str]"

    def stop(self) -> None:
        """End Ray and remove what it wrote; by force after four seconds."""
        with self.keeper:
            try:
                self.keeper.communicate(timeout=_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):  # it ended in this very moment
                    os.killpg(self.keeper.pid, signal.SIGKILL)
        shutil.rmtree(self.temp_dir, ignore_errors=True)


def start_keeper(num_cpus: int | None) -> LocalRay:
    """Start a Ray with this process's environment; ``num_cpus`` None lets Ray count them.

    Raises:
        EnvironmentFailure: Ray does not start; the message holds Ray's reason.
    """
    try:
        return _started(num_cpus)
    except EnvironmentFailure:
        return _started(num_cpus)  # two that start at one moment may have met on a port


def _started(num_cpus: int | None) -> LocalRay:
    temp_dir = Path(tempfile.mkdtemp(prefix="joulegrid-ray-", dir=os.environ.get("RAY_TMPDIR", "/tmp")))
    keeper = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.ray_runtime.local_ray", json.dumps([str(temp_dir), num_cpus])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *sys.path]))},
    )
    found = LocalRay("", temp_dir, keeper)
    try:
        import ray  # noqa: F401 - half a second the caller needs anyway, spent while the keeper starts

        told = json.loads(_line_of(keeper) or '{"error": "its process ended"}')
    except BaseException:  # an interrupt while waiting must leave nothing behind
        found.stop()
        raise
    if "error" in told:
        found.stop()
        raise EnvironmentFailure(f"a local Ray does not start: {told['error']}")
    return LocalRay(told["address"], temp_dir, keeper)


def _line_of(keeper: "subprocess.Popen[str]") -> str:
    if keeper.stdout is None:
        raise AssertionError("the keeper's output is a pipe")
    return keeper.stdout.readline()


def main() -> int:
    """Keep a Ray until standard input ends; tells its address, or why there is none, in one line of JSON."""
    import ray

    temp_dir, num_cpus = json.loads(sys.argv[1])
    try:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=temp_dir,
        )
    except Exception as error:  # Ray raises bare Exception, OSError, ValueError and its own kinds here
        _tell({"error": " ".join(str(error).split())[:400]})
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: None)
    with contextlib.suppress(BrokenPipeError):  # the driver died while Ray started
        _tell({"address": ray.get_runtime_context().gcs_address})
        sys.stdin.read()
    ray.shutdown()
    shutil.rmtree(temp_dir, ignore_errors=True)
    return 0


def _tell(plain: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(plain) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
