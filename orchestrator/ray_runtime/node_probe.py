"""Node probe: run a query on every node of a running cluster, for its hardware or for the limits that it allows.

The query is made from a separate process that joins and leaves the cluster, so that the driver starts with a clean Ray.
"""

import importlib.util
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from collectors.capabilities import cpu_counters_readable
from collectors.nvml_devices import gpu_names
from orchestrator.errors import EnvironmentFailure
from orchestrator.monitor.limits import RequestedLimits, refusals_here
from orchestrator.ray_runtime.probe import check_joinable

_TIMEOUT_S = 60.0
_REPLY = "joulegrid-nodes: "


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHardware:
    """Product names of a node's GPUs, whether vLLM is installed, and whether CPU energy counters can be read."""

    gpus: tuple[str, ...]
    has_vllm: bool
    has_rapl: bool


def node_hardware(address: str) -> tuple[NodeHardware, ...]:
    """Return the hardware of every node of the cluster that is alive.

    Raises:
        EnvironmentFailure: the cluster cannot be joined, or its nodes do not answer.
    """
    replies = _query(address, None)
    return tuple(NodeHardware(**{**reply, "gpus": tuple(reply["gpus"])}) for reply in replies)


def node_refusals(address: str, requested: Sequence[RequestedLimits]) -> tuple[tuple[str | None, ...] | None, ...]:
    """Return `refusals_here` of every node of the cluster that is alive; each text begins with the node's name.

    Raises:
        EnvironmentFailure: the cluster cannot be joined, or its nodes do not answer.
    """
    replies = _query(address, [asdict(each) for each in requested])
    return tuple(None if reply is None else tuple(reply) for reply in replies)


def _this_node() -> NodeHardware:
    return NodeHardware(
        gpus=gpu_names(),
        has_vllm=importlib.util.find_spec("vllm") is not None,
        has_rapl=cpu_counters_readable(),
    )


def _query(address: str, query: Any) -> list[Any]:
    """Run `main` in a process of its own; return the reply of each node."""
    check_joinable(address)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.ray_runtime.node_probe", address, json.dumps(query)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFailure(f"the nodes of {address} did not reply within {_TIMEOUT_S:g} s") from error
    for line in done.stdout.splitlines():
        if line.startswith(_REPLY):
            replies: list[Any] = json.loads(line.removeprefix(_REPLY))
            return replies
    last_line = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    raise EnvironmentFailure(f"the nodes of {address} cannot be queried: {last_line}")


def _hardware(ray_has_gpus: bool) -> dict[str, Any]:
    hardware = _this_node()
    return asdict(hardware if ray_has_gpus else replace(hardware, gpus=()))  # Ray may not use them


def _refusals(ray_has_gpus: bool, requested: Sequence[RequestedLimits]) -> list[str | None] | None:
    refusals = refusals_here(requested) if ray_has_gpus else None
    return None if refusals is None else [each and f"node {socket.gethostname()}: {each}" for each in refusals]


def main() -> int:
    """Query every node of the cluster named by the first argument; print the replies as one line of JSON.

    The second argument is JSON: the limits (`RequestedLimits`) to check on each node, or null for its hardware.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

    query = json.loads(sys.argv[2])
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
    function: Callable[..., Any] = _hardware if query is None else _refusals
    arguments = () if query is None else ([RequestedLimits(**each) for each in query],)
    remote = ray.remote(function)
    alive = [node for node in ray.nodes() if node["Alive"]]
    replies = ray.get(
        [
            remote.options(num_cpus=0, scheduling_strategy=OnNode(node["NodeID"], soft=False)).remote(
                bool(node["Resources"].get("GPU")), *arguments
            )
            for node in alive
        ]
    )
    sys.stdout.write(_REPLY + json.dumps(replies) + "\n")
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
