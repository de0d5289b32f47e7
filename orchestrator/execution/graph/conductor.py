"""The actor that runs a cell as Ray task graphs, on the node of its engine."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.errors import JoulegridError, as_cell_error
from orchestrator.execution.graph.answer import answer
from orchestrator.execution.graph.ray_execute import RayExecute
from orchestrator.execution.graph.remote_engine import RemoteEngine
from orchestrator.execution.graph.role import RoleActor
from orchestrator.execution.lanes.remote_meter import meter_in_lane
from orchestrator.records.record import CellResult
from orchestrator.runner.phases import observe
from orchestrator.runner.result import result_of
from orchestrator.spec.cell import Cell
from orchestrator.spec.workload import roles_of
from workflows.clock import MonotonicClock

ACTOR_OPTIONS = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 10_000}
"""Of conductors and role actors; ``max_concurrency`` bounds steps in flight, where Ray's own bound is 1000."""


class Conductor:
    """Runs one cell at a time; it keeps its role actors for the next, and they end with it."""

    def __init__(self, engine: Any, collector: Any, bundle_index: int = -1) -> None:
        """Actors of the engine and the collector, and the bundle of the conductor's own group where role actors go."""
        self._engine = engine
        self._collector = collector
        self._bundle_index = bundle_index
        self._roles: dict[str, Any] = {}

    async def run(self, cell: Cell, provenance: Mapping[str, str]) -> CellResult | JoulegridError:
        """The result, or why there is none: returned, not raised, so that no class of the user's is pickled."""
        try:
            await self._cast(roles_of(cell))
            engine, execute = RemoteEngine(self._engine), RayExecute(self._roles)
            meter = meter_in_lane(cell, self._collector)
            observed = await observe(cell, engine, MonotonicClock(), execute, meter, provenance=provenance)
            return result_of(cell, observed)
        except (Exception, SystemExit) as raised:  # the conductor is a supervisor: a cell ends alone
            return as_cell_error(raised)

    async def _cast(self, roles: Iterable[str]) -> None:
        """Have an actor of every role, running: none starts while a cell is measured."""
        new = {role: self._role_actor() for role in roles if role not in self._roles}
        ready = (answer(actor.ready.remote(), f"the actor of role {role}") for role, actor in new.items())
        await asyncio.gather(*ready)
        self._roles |= new

    def _role_actor(self) -> Any:
        import ray

        return ray.remote(RoleActor).options(**ACTOR_OPTIONS, scheduling_strategy=self._here()).remote(self._engine)

    def _here(self) -> Any:
        """The conductor's own bundle; its own node where it is in none."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

        group = ray.util.get_current_placement_group()
        if group is None:
            return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=self._bundle_index)
