"""Preflight: check engines, limits and hardware of this machine or the cluster before a sweep begins."""

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
_DETECTION_TIMEOUT_S = 60.0
T = TypeVar("T")


def preflight(cells: Sequence[Cell], settings: Settings) -> None:
    """Run the preflight check of each engine, once per engine key, and check that the requested limits may be set.

    Raises:
        EnvironmentFailure: an engine cannot be used, or no node allows a limit or clock that a cell sets.
    """
    _check_engines(cells)
    requested = requested_limits(cells)
    if requested:
        _check_limits(requested, settings)


def _check_engines(cells: Iterable[Cell]) -> None:
    for cell in {cell.engine_key: cell for cell in cells}.values():
        for own in cell.engine_cells.values():
            check = getattr(plugins.load("orchestrator.engines", own.engine.kind), "preflight", None)
            if check is not None:
                with plugins.user_errors(own.engine.kind):
                    check(own)


def _check_limits(requested: Sequence[RequestedLimits], settings: Settings) -> None:
    """Raise if no node allows one of the requested limits; one node is enough, the others get no such cell."""
    for refusals in zip(*_refusals(requested, settings), strict=True):
        if all(refusals):
            raise EnvironmentFailure(str(refusals[0]))


def _refusals(requested: Sequence[RequestedLimits], settings: Settings) -> list[Sequence[str | None]]:
    """Return the refusals of every node with such GPUs."""
    if settings.executor == "inline" or settings.cluster.address == "local":
        local = _within(_TIMEOUT_S, "checked whether its GPUs may be set", lambda: refusals_here(requested))
        return [] if local is None else [local]
    from orchestrator.ray_runtime.node_probe import node_refusals

    return [refusals for refusals in node_refusals(settings.cluster.address, requested) if refusals is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Hardware of this machine or of the cluster.

    ``gpus`` holds one product name per GPU of all nodes. ``has_vllm`` and ``has_rapl`` are True if all nodes with GPUs
    (without any: all nodes) have vLLM installed and readable CPU energy counters. ``where`` is for messages.
    """

    gpus: tuple[str, ...]
    has_vllm: bool
    where: str
    has_rapl: bool = False


def surroundings_of(cluster: ClusterSettings) -> Surroundings:
    """Return the hardware of this machine, or of the nodes of the cluster.

    Raises:
        EnvironmentFailure: the cluster cannot be joined, or the driver hangs.
    """
    if cluster.address == "local":
        has_vllm = importlib.util.find_spec("vllm") is not None
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        gpus = () if hidden else _within(_DETECTION_TIMEOUT_S, "listed its GPUs", gpu_names)
        return Surroundings(gpus=gpus, has_vllm=has_vllm, has_rapl=cpu_counters_readable(), where="here")
    from orchestrator.ray_runtime.node_probe import node_hardware

    nodes = node_hardware(cluster.address)
    with_gpus = [node for node in nodes if node.gpus]
    return Surroundings(
        gpus=tuple(name for node in with_gpus for name in node.gpus),
        has_vllm=all(node.has_vllm for node in with_gpus or nodes),
        has_rapl=all(node.has_rapl for node in with_gpus or nodes),
        where=f"in the cluster at {cluster.address}",
    )


def _within(timeout_s: float, doing: str, work: Callable[[], T]) -> T:
    try:
        return call_within(timeout_s, doing, work)
    except DriverHangs as error:
        raise EnvironmentFailure(str(error)) from error
