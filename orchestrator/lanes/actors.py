"""Lane actors: the placement group of a lane, the Ray actors in it, and the results of their calls."""

from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import JoulegridError, as_cell_error
from orchestrator.lanes import engine_actor
from orchestrator.lanes.collector_actor import CollectorActor
from orchestrator.lanes.placement import PlacementRequest
from orchestrator.lanes.processes import LANE
from orchestrator.ray_runtime import task_graph
from orchestrator.ray_runtime.cluster import one_line

_NODE_ID = "ray.io/node-id"
_ENGINE_BUNDLE, _REST_BUNDLE = 0, 1
_NO_RESTART = {"max_restarts": 0, "max_task_retries": 0}


class ActorLost(Exception):
    """An actor died or cannot be reached; the message is Ray's, on one line."""


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Wait for the first of these references, until this time of the monotonic clock."""

    refs: tuple[Any, ...]
    deadline_s: float | None = None


Steps = Generator[WaitFor, Any, Any]
"""Steps of a lane: it is sent the reference that is ready, or None at the deadline, or when `Lane` has news."""


@dataclass(slots=True)
class LaneActors:
    """A placement group and its actors; ``workflow_actor`` exists only if a cell runs its workflows as Ray graphs."""

    lane_id: str
    group: Any
    engine: Any
    collector: Any
    workflow_actor: Any = None

    def are_placed(self) -> bool:
        """Return whether Ray has placed the group; the actors may not answer yet."""
        from ray.util.placement_group import placement_group_table

        return bool(placement_group_table(self.group)["state"] == "CREATED")

    def get_workflow_actor(self) -> Any:
        """Return the workflow actor; create it at its first cell."""
        import ray

        if self.workflow_actor is None:
            actor_class = ray.remote(task_graph.WorkflowActor).options(
                **task_graph.ACTOR_OPTIONS, **_environment(self.lane_id), **_in_bundle(self.group, _REST_BUNDLE)
            )
            self.workflow_actor = actor_class.remote(self.engine, self.collector, _REST_BUNDLE)
        return self.workflow_actor

    def kill_engine(self) -> None:
        """Kill the workflow actor, and the engine's actor with its process group."""
        import ray

        for actor in (self.workflow_actor, self.engine):
            if actor is not None:
                ray.kill(actor)

    def remove(self) -> None:
        """Kill all actors and remove the placement group."""
        import ray
        from ray.util.placement_group import remove_placement_group

        self.kill_engine()
        ray.kill(self.collector)
        remove_placement_group(self.group)


def place(lane_id: str, request: PlacementRequest, node: str | None, exclude: Collection[str]) -> LaneActors:
    """Create the actors of a lane on ``node``, or on any node but those of ``exclude``; they answer once placed."""
    import ray
    from ray.util.placement_group import placement_group

    selector = {_NODE_ID: f"in({node})"} if node else {_NODE_ID: f"!in({','.join(exclude)})"} if exclude else {}
    bundles = request.bundles()
    group = placement_group(bundles, strategy="STRICT_PACK", bundle_label_selector=[selector] * len(bundles))
    engine = ray.remote(**engine_actor.ACTOR_OPTIONS)(engine_actor.EngineActor).options(
        num_cpus=0, num_gpus=request.num_gpus, **_environment(lane_id), **_in_bundle(group, _ENGINE_BUNDLE)
    )
    collector = ray.remote(CollectorActor).options(num_cpus=0, **_NO_RESTART, **_in_bundle(group, _REST_BUNDLE))
    return LaneActors(lane_id, group, engine.remote(lane_id), collector.remote(lane_id))


def value_of(ref: Any) -> Any:
    """Return the result of a call that has ended.

    Raises:
        JoulegridError: the error that the call returned instead of a value.
        CellError: the exception that the call raised.
        ActorLost: the actor died or cannot be reached.
    """
    import ray

    try:
        value = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise as_cell_error(error.cause) from error
    except ray.exceptions.RayError as error:
        raise ActorLost(one_line(error)) from error
    if isinstance(value, JoulegridError):
        raise value
    return value


def _environment(lane_id: str) -> dict[str, Any]:
    """Return the options that put the lane's name into the environment of an actor and of all its child processes.

    SPT_NOENV keeps it readable: without it setproctitle, by which vLLM names its processes, overwrites the environment.
    """
    return {"runtime_env": {"env_vars": {LANE: lane_id, "SPT_NOENV": "1"}}}


def _in_bundle(group: Any, bundle: int) -> dict[str, Any]:
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)}
