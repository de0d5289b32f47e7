"""Probe: check in a separate process whether a Ray cluster can be joined.

With a wrong token Ray 2.60 writes C++ log lines to stderr for twenty seconds; with a server that is not Ray it aborts
after two minutes. Neither can be caught in the process that calls ``ray.init``.
"""

import logging
import os
import socket
import subprocess
import sys
import threading

from orchestrator.errors import EnvironmentFailure

_CONNECT_TIMEOUT_S = 5.0
_PROBE_TIMEOUT_S = 18.0
_MAX_PORT = 65535
_REFUSED = "InvalidAuthToken"
_REASON = "joulegrid-probe: "


def check_joinable(address: str) -> None:
    """Return if ``ray.init(address)`` will succeed in this environment.

    Raises:
        EnvironmentFailure: it will fail; the message says why and what to do.
    """
    if "://" in address:
        raise EnvironmentFailure(
            f"cluster.address={address}: Ray Client is not supported; run joulegrid on a node of the cluster "
            "(or as a Ray job) with cluster.address=auto, or give the head's HOST:PORT"
        )
    target = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if target and target != "auto":
        _check_listening(target)
    _check_ray(address)


def _check_listening(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _MAX_PORT:
        raise EnvironmentFailure(f"{address!r} is no Ray address; allowed: local, auto or HOST:PORT of the head")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise EnvironmentFailure(
            f"no Ray cluster answers at {address} ({error}); start one with cluster/head.sh or use cluster=local"
        ) from error


def _check_ray(address: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.ray_runtime.probe", address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        timer = threading.Timer(_PROBE_TIMEOUT_S, process.kill)
        timer.start()
        try:
            reason = _first_reason(process)
        finally:
            timer.cancel()
            process.kill()
    if reason is not None:
        raise EnvironmentFailure(_message(address, reason))


def _first_reason(process: "subprocess.Popen[str]") -> str | None:
    """Return why the cluster cannot be joined, as soon as it is known; None if it can be."""
    if process.stdout is None:
        raise AssertionError("the probe's output is a pipe")
    for line in process.stdout:
        if _REFUSED in line:
            return _REFUSED
        if line.startswith(_REASON):
            return line.removeprefix(_REASON).strip()
    return None if process.wait() == 0 else f"no answer from a Ray head within {_PROBE_TIMEOUT_S:g} s"


def _message(address: str, reason: str) -> str:
    if reason == _REFUSED:
        mode = os.environ.get("RAY_AUTH_MODE") or "unset"
        return (
            f"the Ray cluster at {address} refuses our token (RAY_AUTH_MODE is {mode}): set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token the cluster was started with"
        )
    if address == "auto" and "Could not find any running Ray instance" in reason:
        return (
            "cluster.address=auto finds no running Ray on this machine: start one with cluster/head.sh, "
            "set RAY_ADDRESS=HOST:PORT, or use cluster=local"
        )
    return f"cannot join the Ray cluster at {address}: {reason}"


def main() -> int:
    """Join and leave the cluster named by the first argument; print why that fails on one line."""
    import ray

    try:
        ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises Exception, OSError, ValueError and its own classes here
        sys.stdout.write(f"{_REASON}{' '.join(str(error).split())[:400]}\n")
        return 1
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
