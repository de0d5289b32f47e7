"""Why a lane has no place, in words."""

from collections.abc import Mapping, Sequence

from orchestrator.errors import EnvironmentFailure, InfeasibleCell
from orchestrator.execution.lanes.need import Need
from orchestrator.execution.ray_cluster import Node
from orchestrator.spec.settings import ClusterSettings


def too_large(need: Need, nodes: Sequence[Node]) -> InfeasibleCell | None:
    """The refusal of what fits on none of these nodes; there are no others to come."""
    if not nodes or any(need.fits(node.num_gpus, node.num_cpus) for node in nodes):
        return None
    has = ", ".join(f"{node.host} has {node.num_gpus:g} GPUs and {node.num_cpus:g} CPUs" for node in nodes)
    return InfeasibleCell(f"the engine needs {need.text()}; {has}")


def none_left(need: Need, nodes: Sequence[Node], barred: Mapping[str, str]) -> EnvironmentFailure | None:
    """The end of a sweep whose cells have nodes, none of which can be used."""
    able = [node.node_id for node in nodes if need.fits(node.num_gpus, node.num_cpus)]
    if not able or any(node not in barred for node in able):
        return None
    return EnvironmentFailure("; ".join(dict.fromkeys(barred[node] for node in able)))


def no_place(
    need: Need,
    nodes: Sequence[Node],
    free: Mapping[str, Mapping[str, float]],
    barred: Mapping[str, str],
    settings: ClusterSettings,
) -> str:
    """Why no place may have been found in time."""
    told = ", ".join(
        f"{node.host} has {node.num_gpus:g} GPUs and {node.num_cpus:g} CPUs, free are "
        f"{free.get(node.node_id, {}).get('GPU', 0.0):g} and {free.get(node.node_id, {}).get('CPU', 0.0):g}"
        for node in nodes
    )
    quarantine = "".join(f"; {node} is in quarantine: {why}" for node, why in barred.items())
    return (
        f"no place for a lane within {settings.placement_timeout_s:g} s at {settings.address}: it needs "
        f"{need.text()}; {told or 'no node is alive'}{quarantine}; another job may hold them, a node may have left, "
        "or an autoscaler may still be starting one (cluster.placement_timeout_s)"
    )
