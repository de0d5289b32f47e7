"""What the nodes offer that a sweep would run on: their GPUs, and whether vLLM is there."""

import importlib.util
import os
from dataclasses import dataclass

from collectors.capabilities import cpu_counters_readable
from collectors.nvml_devices import gpu_names
from orchestrator.errors import EnvironmentFailure
from orchestrator.monitor.timeout import DriverHangs, within
from orchestrator.spec.settings import ClusterSettings

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """GPUs of all nodes by product name, and where that is.

    ``has_vllm`` and ``has_rapl`` are whether the nodes that have GPUs (or this one) have vLLM, and CPU power to read.
    """

    gpus: tuple[str, ...]
    has_vllm: bool
    where: str
    has_rapl: bool = False


def surroundings_of(cluster: ClusterSettings) -> Surroundings:
    """What this machine has, or the nodes of the cluster that is joined.

    Raises:
        EnvironmentFailure: the cluster cannot be joined, or the driver hangs.
    """
    if cluster.address == "local":
        has_vllm = importlib.util.find_spec("vllm") is not None
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        gpus = () if hidden else _gpu_names()
        return Surroundings(gpus=gpus, has_vllm=has_vllm, has_rapl=cpu_counters_readable(), where="here")
    from orchestrator.execution.node_probe import node_offers

    nodes = node_offers(cluster.address)
    with_gpus = [node for node in nodes if node.gpus]
    return Surroundings(
        gpus=tuple(name for node in with_gpus for name in node.gpus),
        has_vllm=all(node.has_vllm for node in with_gpus or nodes),
        has_rapl=all(node.has_rapl for node in with_gpus or nodes),
        where=f"in the cluster at {cluster.address}",
    )


def _gpu_names() -> tuple[str, ...]:
    try:
        return within(_TIMEOUT_S, "said which GPUs it has", gpu_names)
    except DriverHangs as error:
        raise EnvironmentFailure(str(error)) from error
