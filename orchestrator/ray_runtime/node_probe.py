"""What each node of a running cluster has and allows, asked on the node itself, from a process of its own.

The asking process joins the cluster and leaves it again, so that the one that runs the sweep begins with a clean Ray.
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
_ANSWER = "joulegrid-nodes: "


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOffer:
    """A node's GPUs by product name, whether its Python finds vLLM, and whether the energy of its CPUs can be read."""

    gpus: tuple[str, ...]
    has_vllm: bool
    has_rapl: bool


def node_offers(address: str) -> tuple[NodeOffer, ...]:
    """What every alive node of the cluster has.

    Raises:
        EnvironmentFailure: the cluster cannot be joined, or its nodes do not answer.
    """
    found = _answers(address, None)
    return tuple(NodeOffer(**{**node, "gpus": tuple(node["gpus"])}) for node in found)


def node_refusals(address: str, asked: Sequence[RequestedLimits]) -> tuple[tuple[str | None, ...] | None, ...]:
    """What `refusals_here` says on every alive node of the cluster, led by the node's name.

    Raises:
        EnvironmentFailure: the cluster cannot be joined, or its nodes do not answer.
    """
    found = _answers(address, [asdict(each) for each in asked])
    return tuple(None if node is None else tuple(node) for node in found)


def this_node() -> NodeOffer:
    """What the machine has that this runs on."""
    return NodeOffer(
        gpus=gpu_names(),
        has_vllm=importlib.util.find_spec("vllm") is not None,
        has_rapl=cpu_counters_readable(),
    )


def _answers(address: str, question: Any) -> list[Any]:
    check_joinable(address)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.ray_runtime.node_probe", address, json.dumps(question)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFailure(
            f"the nodes of {address} did not say within {_TIMEOUT_S:g} s what they have"
        ) from error
    for line in done.stdout.splitlines():
        if line.startswith(_ANSWER):
            found: list[Any] = json.loads(line.removeprefix(_ANSWER))
            return found
    last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    raise EnvironmentFailure(f"the nodes of {address} cannot be asked what they have: {last}")


def _offer(gpus_are_rays: bool) -> dict[str, Any]:
    offer = this_node()
    return asdict(offer if gpus_are_rays else replace(offer, gpus=()))  # not Ray's to use


def _refusals(gpus_are_rays: bool, asked: Sequence[RequestedLimits]) -> list[str | None] | None:
    found = refusals_here(asked) if gpus_are_rays else None
    return None if found is None else [each and f"node {socket.gethostname()}: {each}" for each in found]


def main() -> int:
    """Ask every node of the cluster named by the first argument; the answers go to stdout on one line.

    The second argument is JSON: settings of `RequestedLimits` that each node is to allow, or null for what it offers.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

    question = json.loads(sys.argv[2])
    asked = [] if question is None else [RequestedLimits(**each) for each in question]
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
    function: Callable[..., Any] = _offer if question is None else _refusals
    arguments = () if question is None else (asked,)
    ask = ray.remote(function)
    alive = [node for node in ray.nodes() if node["Alive"]]
    answers = ray.get(
        [
            ask.options(num_cpus=0, scheduling_strategy=OnNode(node["NodeID"], soft=False)).remote(
                bool(node["Resources"].get("GPU")), *arguments
            )
            for node in alive
        ]
    )
    sys.stdout.write(_ANSWER + json.dumps(answers) + "\n")
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
