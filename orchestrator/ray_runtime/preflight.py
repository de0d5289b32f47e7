"""What can be known to fail before a sweep begins, by asking the surroundings rather than the cells."""

import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from collectors.capabilities import cpu_counters_readable
from collectors.nvml_devices import gpu_names
from orchestrator import plugins
from orchestrator.errors import EnvironmentFailure
from orchestrator.monitor.limits import RequestedLimits, refusals_here, requested_limits
from orchestrator.monitor.timeout import DriverHangs, call_within
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings, Settings

_TIMEOUT_S = 120.0
T = TypeVar("T")


def preflight(cells: Sequence[Cell], settings: Settings) -> None:
    """Let every engine that wants to look around do so, once for each of its keys; ask whether GPUs may be set.

    Raises:
        EnvironmentFailure: an engine could not be used, or no node lets us set what the cells ask for.
    """
    _look_around(cells)
    asked = requested_limits(cells)
    if asked:
        _check_knobs(asked, settings)


def _look_around(cells: Iterable[Cell]) -> None:
    for cell in {cell.engine_key: cell for cell in cells}.values():
        for own in cell.engine_cells.values():
            look = getattr(plugins.load("orchestrator.engines", own.engine.kind), "preflight", None)
            if look is not None:
                with plugins.user_errors(own.engine.kind):
                    look(own)


def _check_knobs(asked: Sequence[RequestedLimits], settings: Settings) -> None:
    """One node that lets us is enough: the others get no lane."""
    for refusals in zip(*_refusals(asked, settings), strict=True):
        if all(refusals):
            raise EnvironmentFailure(str(refusals[0]))


def _refusals(asked: Sequence[RequestedLimits], settings: Settings) -> list[Sequence[str | None]]:
    """Of every node that has such GPUs."""
    if settings.executor == "inline" or settings.cluster.address == "local":
        here = _within(lambda: refusals_here(asked))
        return [] if here is None else [here]
    return _of_nodes(asked, settings.cluster)


def _within(ask: Callable[[], T]) -> T:
    try:
        return call_within(_TIMEOUT_S, "told whether its GPUs may be set", ask)
    except DriverHangs as error:
        raise EnvironmentFailure(str(error)) from error


def _of_nodes(asked: Sequence[RequestedLimits], cluster: ClusterSettings) -> list[Sequence[str | None]]:
    from orchestrator.ray_runtime.node_probe import node_refusals

    return [found for found in node_refusals(cluster.address, asked) if found is not None]


_DETECTION_TIMEOUT_S = 60.0


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
    from orchestrator.ray_runtime.node_probe import node_offers

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
        return call_within(_DETECTION_TIMEOUT_S, "said which GPUs it has", gpu_names)
    except DriverHangs as error:
        raise EnvironmentFailure(str(error)) from error
