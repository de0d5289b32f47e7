"""What a lane asks of Ray: a placement group, its actors, their answers."""

from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import JoulegridError, as_cell_error
from orchestrator.lanes import engine_actor
from orchestrator.lanes.collector_actor import CollectorActor
from orchestrator.lanes.placement import Need
from orchestrator.lanes.processes import LANE
from orchestrator.ray_runtime import task_graph
from orchestrator.ray_runtime.cluster import one_line

_NODE_ID = "ray.io/node-id"
_ENGINE_BUNDLE, _REST_BUNDLE = 0, 1
_NO_RESTART = {"max_restarts": 0, "max_task_retries": 0}


class ActorLost(Exception):
    """An actor died or cannot be reached; the text is Ray's, on one line."""


@dataclass(slots=True)
class LaneActors:
    """A placement group and the actors in it; a conductor only where a cell's workflows are Ray graphs."""

    lane_id: str
    group: Any
    engine: Any
    collector: Any
    conductor: Any = None

    def are_placed(self) -> bool:
        """Whether Ray has found a place, though they may not answer yet."""
        from ray.util.placement_group import placement_group_table

        return bool(placement_group_table(self.group)["state"] == "CREATED")

    def conduct(self) -> Any:
        """The conductor, made at its first cell."""
        import ray

        if self.conductor is None:
            made = ray.remote(task_graph.Conductor).options(
                **task_graph.ACTOR_OPTIONS, **_named(self.lane_id), **_in(self.group, _REST_BUNDLE)
            )
            self.conductor = made.remote(self.engine, self.collector, _REST_BUNDLE)
        return self.conductor

    def kill_engine(self) -> None:
        """End the engine's process and what depends on it; Ray kills its process group."""
        import ray

        for actor in (self.conductor, self.engine):
            if actor is not None:
                ray.kill(actor)

    def remove(self) -> None:
        """Give everything back."""
        import ray
        from ray.util.placement_group import remove_placement_group

        self.kill_engine()
        ray.kill(self.collector)
        remove_placement_group(self.group)


def place(lane_id: str, need: Need, node: str | None, exclude: Collection[str]) -> LaneActors:
    """Ask for the actors of a lane: on ``node``, or wherever but on nodes of ``exclude``; they answer once placed."""
    import ray
    from ray.util.placement_group import placement_group

    selector = {_NODE_ID: f"in({node})"} if node else {_NODE_ID: f"!in({','.join(exclude)})"} if exclude else {}
    bundles = need.bundles()
    group = placement_group(bundles, strategy="STRICT_PACK", bundle_label_selector=[selector] * len(bundles))
    engine = ray.remote(concurrency_groups={engine_actor.CONTROL_GROUP: 4}, **engine_actor.ACTOR_OPTIONS)(
        engine_actor.EngineActor
    ).options(num_cpus=0, num_gpus=need.num_gpus, **_named(lane_id), **_in(group, _ENGINE_BUNDLE))
    collector = ray.remote(CollectorActor).options(num_cpus=0, **_NO_RESTART, **_in(group, _REST_BUNDLE))
    return LaneActors(lane_id, group, engine.remote(lane_id), collector.remote(lane_id))


def value_of(ref: Any) -> Any:
    """What an actor answered.

    Raises:
        JoulegridError: what it returned instead of a value.
        CellError: what it raised.
        ActorLost: it died or cannot be reached.
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


def _named(lane_id: str) -> dict[str, Any]:
    """The environment a process begins with is what others can read of it, and what its own processes inherit.

    Without SPT_NOENV setproctitle, with which vLLM names its processes, writes the name over the environment.
    """
    return {"runtime_env": {"env_vars": {LANE: lane_id, "SPT_NOENV": "1"}}}


def _in(group: Any, bundle: int) -> dict[str, Any]:
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)}


@dataclass(frozen=True, slots=True)
class Await:
    """The first of these references, until this time of the monotonic clock."""

    refs: tuple[Any, ...]
    deadline_s: float | None = None


Steps = Generator[Await, Any, Any]
"""Is sent the reference that is ready, or None: the time is up, or there is something else to do."""
