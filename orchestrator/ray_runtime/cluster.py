"""Cluster: the connection of this process to a Ray, either a local one started for a sweep or a running cluster.

Ray reads its settings from the environment at import, so this module sets them first and imports Ray inside functions.
They stay set in the process, because Ray caches its token.
"""

import atexit
import logging
import os
import re
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.errors import EnvironmentFailure
from orchestrator.ray_runtime.local_ray import LocalRay, start_local_ray
from orchestrator.ray_runtime.probe import check_joinable

_QUIET = {
    "RAY_DEDUP_LOGS_SKIP_REGEX": r"[\s\S]*",  # raylet messages reach stdout through the deduplicator alone
    "RAY_SCHEDULER_EVENTS": "0",
}
_WORKER_ENDING = re.compile(r"Worker exit type: (?P<kind>\w+) Worker exit detail: (?P<detail>.*?)(?: Some common|$)")
_LEAVE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster that is alive."""

    node_id: str
    host: str
    num_cpus: float
    num_gpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """The connection of this process to a Ray cluster; ``own`` is the local Ray if this process started it."""

    own: LocalRay | None = None

    def nodes(self) -> tuple[Node, ...]:
        """Return the nodes that are alive now."""
        import ray

        return tuple(
            Node(
                node["NodeID"],
                node["NodeManagerHostname"],
                node["Resources"].get("CPU", 0.0),
                node["Resources"].get("GPU", 0.0),
            )
            for node in ray.nodes()
            if node["Alive"]
        )

    def num_cpus(self) -> int:
        """Return the CPUs of the nodes that are alive now."""
        return sum(int(node.num_cpus) for node in self.nodes())

    def free_cpus(self) -> float:
        """Return the CPUs that are unreserved now."""
        import ray

        return float(ray.available_resources().get("CPU", 0.0))

    def free(self) -> Mapping[str, Mapping[str, float]]:
        """Return the unreserved resources of each node, by node id."""
        from ray._private.state import available_resources_per_node  # the public call sums over all nodes

        free: Mapping[str, Mapping[str, float]] = available_resources_per_node()
        return free

    def leave(self) -> None:
        """Disconnect, which ends our actors; shut down an own local Ray and remove its files."""
        _disconnect()
        if self.own is not None:
            self.own.stop()


def start_local(num_cpus: int | None) -> RayCluster:
    """Start a Ray on this machine that ends with `RayCluster.leave` or with this process.

    ``num_cpus`` None lets Ray count them, which respects the limits of a container.

    Raises:
        EnvironmentFailure: Ray does not start; the message holds Ray's reason.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    _quieten()
    own = start_local_ray(num_cpus)
    try:
        _connect(own.address)
    except BaseException:  # after an interrupt nothing may remain either
        own.stop()
        raise
    return RayCluster(own=own)


def join(address: str) -> RayCluster:
    """Join the running cluster at ``auto`` or ``host:port`` with the user's own Ray settings and token.

    Raises:
        EnvironmentFailure: it cannot be joined; raised within 25 s and without output of Ray.
    """
    check_joinable(address)
    _quieten()
    _connect(address)
    return RayCluster()


def _connect(address: str) -> None:
    import ray

    try:
        with _sigterm_kept():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises Exception, OSError, ValueError and its own classes here
        raise EnvironmentFailure(f"cannot join the Ray cluster at {address}: {one_line(error)}") from error


def _disconnect() -> None:
    """Call ``ray.shutdown`` for at most two seconds: if the head is dead, it waits a minute and then aborts."""
    import ray

    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(_LEAVE_TIMEOUT_S)
    if leaving.is_alive():
        atexit.unregister(ray.shutdown)


def one_line(error: BaseException, limit_chars: int = 400) -> str:
    """Return the message of a Ray error on one line of at most ``limit_chars``; for a dead worker, how it ended."""
    text = " ".join(str(error).split()) or type(error).__name__
    ending = _WORKER_ENDING.search(text)
    if ending is not None:
        text = f"{type(error).__name__}: {ending['kind']}: {ending['detail']}"
    return text if len(text) <= limit_chars else text[: limit_chars - 1] + "…"


def _quieten() -> None:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep the caller's SIGTERM handler: on the main thread ``ray.init`` installs its own, which exits."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
