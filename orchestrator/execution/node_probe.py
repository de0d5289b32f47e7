"""What each node of a running cluster has, asked on the node itself, from a process of its own.

The asking process joins the cluster and leaves it again, so that the one that runs the sweep begins with a clean Ray.
"""

import importlib.util
import json
import logging
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace

from collectors.gpus import gpu_names
from orchestrator.errors import EnvironmentFailure
from orchestrator.execution.probe import check_joinable

_TIMEOUT_S = 60.0
_ANSWER = "joulegrid-nodes: "


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOffer:
    """A node's GPUs by product name, and whether its Python finds vLLM."""

    gpus: tuple[str, ...]
    has_vllm: bool


def node_offers(address: str) -> tuple[NodeOffer, ...]:
    """What every alive node of the cluster has.

    Raises:
        EnvironmentFailure: the cluster cannot be joined, or its nodes do not answer.
    """
    check_joinable(address)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.execution.node_probe", address],
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
            plain = json.loads(line.removeprefix(_ANSWER))
            return tuple(NodeOffer(gpus=tuple(node["gpus"]), has_vllm=node["has_vllm"]) for node in plain)
    last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    raise EnvironmentFailure(f"the nodes of {address} cannot be asked what they have: {last}")


def this_node() -> NodeOffer:
    """What the machine has that this runs on."""
    return NodeOffer(gpus=gpu_names(), has_vllm=importlib.util.find_spec("vllm") is not None)


def main() -> int:
    """Ask every node of the cluster named by the first argument; the answer goes to stdout on one line."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
    ask = ray.remote(this_node)
    alive = [node for node in ray.nodes() if node["Alive"]]
    asked = [ask.options(num_cpus=0, scheduling_strategy=OnNode(node["NodeID"], soft=False)).remote() for node in alive]
    offers = [
        offer if node["Resources"].get("GPU") else replace(offer, gpus=())  # not Ray's to use
        for node, offer in zip(alive, ray.get(asked), strict=True)
    ]
    sys.stdout.write(_ANSWER + json.dumps([asdict(offer) for offer in offers]) + "\n")
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
