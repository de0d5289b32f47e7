"""Local Ray: a Ray on this machine, started by a host process in a session of its own.

Ray ends its processes together with the thread that started them. A signal to the driver's process group (by
``timeout``, a terminal or a batch system) would end them before the driver, which then hangs and aborts. The host
process does not receive such signals. It shuts Ray down when its standard input ends: the driver closes it, or dies.
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
    """A running local Ray: its address, its files and the process that hosts it."""

    address: str
    temp_dir: Path
    host_process: "subprocess.Popen[str]"

    def stop(self) -> None:
        """Shut Ray down, by SIGKILL after four seconds, and remove its files."""
        with self.host_process:
            try:
                self.host_process.communicate(timeout=_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.killpg(self.host_process.pid, signal.SIGKILL)
        shutil.rmtree(self.temp_dir, ignore_errors=True)


def start_local_ray(num_cpus: int | None) -> LocalRay:
    """Start a Ray with this process's environment; ``num_cpus`` None lets Ray count them.

    Raises:
        EnvironmentFailure: Ray does not start; the message holds Ray's reason.
    """
    try:
        return _start(num_cpus)
    except EnvironmentFailure:
        return _start(num_cpus)  # two that start at the same time may have chosen the same port


def _start(num_cpus: int | None) -> LocalRay:
    temp_dir = Path(tempfile.mkdtemp(prefix="joulegrid-ray-", dir=os.environ.get("RAY_TMPDIR", "/tmp")))
    host_process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.ray_runtime.local_ray", json.dumps([str(temp_dir), num_cpus])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *sys.path]))},
    )
    starting = LocalRay("", temp_dir, host_process)
    try:
        import ray  # noqa: F401 - the caller needs it next; import it (0.5 s) while the host process starts

        reply = json.loads(_read_line(host_process) or '{"error": "its process ended"}')
    except BaseException:  # after an interrupt nothing may remain
        starting.stop()
        raise
    if "error" in reply:
        starting.stop()
        raise EnvironmentFailure(f"a local Ray does not start: {reply['error']}")
    return LocalRay(reply["address"], temp_dir, host_process)


def _read_line(host_process: "subprocess.Popen[str]") -> str:
    if host_process.stdout is None:
        raise AssertionError("the output of the host process is a pipe")
    return host_process.stdout.readline()


def main() -> int:
    """Host a Ray until standard input ends; print its address, or the error, as one line of JSON."""
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
    except Exception as error:  # Ray raises Exception, OSError, ValueError and its own classes here
        _print_json({"error": " ".join(str(error).split())[:400]})
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: None)
    with contextlib.suppress(BrokenPipeError):  # the driver died while Ray started
        _print_json({"address": ray.get_runtime_context().gcs_address})
        sys.stdin.read()
    ray.shutdown()
    shutil.rmtree(temp_dir, ignore_errors=True)
    return 0


def _print_json(reply: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
