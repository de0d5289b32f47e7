"""A pool without Ray: given nodes, engines that follow a script, and an executor over both."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from lane_fakes.cells import in_virtual_time
from orchestrator.errors import JoulegridError, LimitsRefused
from orchestrator.lanes import pool as pool_module
from orchestrator.lanes.actors import Steps, WaitFor
from orchestrator.lanes.placement import sets_gpus
from orchestrator.lanes.pool import LanePool
from orchestrator.ray_runtime.cluster import Node
from orchestrator.records.record import LaneRecord
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.executor import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The errors of a lane by step; ``unplaced`` is that of a lane which finds no place.

    ``refused``, and a `LimitsRefused` in ``loaded``, are raised only for cells that set their GPUs.
    """

    unplaced: JoulegridError | None = None
    greeted: JoulegridError | None = None
    loaded: JoulegridError | None = None
    refused: JoulegridError | None = None
    closed: JoulegridError | None = None
    closes: bool = True


class ScriptedEngine:
    """Stands in for an `EngineHandle`."""

    def __init__(self, lane_id: str, node: str | None, default_node: str, story: Story) -> None:
        self.lane_id, self.node, self._default_node, self._story = lane_id, node, default_node, story
        self.host: str | None = None
        self.devices: tuple[str, ...] = ()
        self.clock = None
        self.start = EngineStart()
        self.start_s: float | None = None
        self.bare_idle_power_w: float | None = None
        self.start_energy_j: float | None = None
        self.loaded_idle_power_w: float | None = None
        self.found_no_place = self.is_closing = self.was_killed = False
        self.gpu: str | None = None

    def placed(self, request, exclude, timeout_text, gpu) -> Steps:
        yield WaitFor((), 0.0)
        self.gpu, self.found_no_place = gpu, self._story.unplaced is not None
        self._do(self._story.unplaced)
        self.node = self.node or self._default_node
        self._do(self._story.greeted)
        self.host = f"host of {self.node}"

    def loaded(self, cell: Cell) -> Steps:
        yield WaitFor((), 0.0)
        self._do(self._story.loaded if not isinstance(self._story.loaded, LimitsRefused) or sets_gpus(cell) else None)
        self.start_s = 1.0
        self.bare_idle_power_w, self.start_energy_j, self.loaded_idle_power_w = 70.0, 900.0, 95.0

    def idle(self) -> Steps:
        yield WaitFor(())

    def run(self, cell: Cell) -> Steps:
        yield WaitFor((), 0.0)
        if sets_gpus(cell):
            self._do(self._story.refused)
        return in_virtual_time(cell)

    def closed(self) -> Steps:
        self.is_closing = not self._story.closes
        yield WaitFor((), 0.0 if self._story.closes else None)
        self.is_closing, self.was_killed = False, True
        self._do(self._story.closed)

    def abandon(self) -> None:
        pass

    def _do(self, error: JoulegridError | None) -> None:
        if error is not None:
            raise error


@dataclass
class Nodes:
    """Stands in for a `RayCluster`."""

    alive: Sequence[Node]

    def nodes(self) -> Sequence[Node]:
        return self.alive

    def free(self) -> Mapping[str, Mapping[str, float]]:
        return {node.node_id: {"GPU": node.num_gpus, "CPU": node.num_cpus} for node in self.alive}


@dataclass
class Scripted:
    """An executor; each lane takes the next story, the last of them the default."""

    pool: LanePool
    engines: list[ScriptedEngine] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    name: str = "scripted"

    def choose(self, queue: Sequence[Cell]) -> int | None:
        return self.pool.choose(queue)

    def submit(self, cell: Cell) -> None:
        self.pool.submit(cell)

    def wait(self, timeout_s: float) -> Collection[Outcome]:
        return self.pool.take(())

    def lanes(self) -> Sequence[LaneRecord]:
        return self.pool.records()


def scripted(
    patch: pytest.MonkeyPatch, *nodes: Node, stories: Sequence[Story] = (), address: str = "auto", max_attempts: int = 3
) -> Scripted:
    warnings: list[str] = []
    pool = LanePool(
        Nodes(nodes),
        ClusterSettings(address=address),
        block_of=lambda cell: cell.repeat,
        max_attempts=max_attempts,
        warn=warnings.append,
    )
    executor, left = Scripted(pool, warnings=warnings), list(stories)

    def engine(lane_id: str, settings: ClusterSettings, node: str | None) -> ScriptedEngine:
        story = left.pop(0) if left else Story()
        executor.engines.append(ScriptedEngine(lane_id, node, nodes[0].node_id, story))
        return executor.engines[-1]

    patch.setattr(pool_module, "EngineHandle", engine)
    return executor
