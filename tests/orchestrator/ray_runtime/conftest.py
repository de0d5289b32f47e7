"""One local Ray for the file, and lanes on it: an engine's actor and a workflow_actor each."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from graph_cells import paced_cell, recording_cell
from graph_plugins import recording

from orchestrator.errors import JoulegridError
from orchestrator.lanes import engine_actor
from orchestrator.ray_runtime.cluster import start_local
from orchestrator.ray_runtime.task_graph import ACTOR_OPTIONS, WorkflowActor
from orchestrator.records.record import CellResult
from orchestrator.spec.cell import Cell

HERE = Path(__file__).parent


@dataclass
class Lane:
    """An engine's actor and a workflow_actor, made for a cell's engine."""

    log: Path
    engine: Any = None
    workflow_actor: Any = None
    provenance: dict[str, str] = field(default_factory=dict)

    def start(self, cell: Cell) -> None:
        import ray

        options = {"num_cpus": 0, **engine_actor.ACTOR_OPTIONS}
        self.log.unlink(missing_ok=True)
        self.engine = ray.remote(**options)(engine_actor.EngineActor).remote("a-lane")
        started = ray.get(self.engine.start.remote(cell))
        if isinstance(started, JoulegridError):
            raise started
        self.provenance = dict(started.provenance)
        self.workflow_actor = ray.remote(**ACTOR_OPTIONS)(WorkflowActor).remote(self.engine, None)

    def run(self, cell: Cell) -> CellResult | JoulegridError:
        """Run the cell as a Ray graph."""
        import ray

        self.log.unlink(missing_ok=True)
        return ray.get(self.workflow_actor.run.remote(cell, self.provenance), timeout=60)

    def run_locally(self, cell: Cell) -> CellResult | JoulegridError:
        """Run the cell with its workflows in the process of the same engine."""
        import ray

        self.log.unlink(missing_ok=True)
        return ray.get(self.engine.run.remote(cell, None), timeout=60)

    def recorded(self, key: str) -> list[Any]:
        """Return what the recording engine wrote under this key."""
        rows = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [row[key] for row in rows if key in row]

    def stop(self) -> None:
        import ray

        for actor in (self.workflow_actor, self.engine):
            ray.kill(actor)


@pytest.fixture(scope="module")
def engine_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A local Ray whose recording engines write to this file."""
    log = tmp_path_factory.mktemp("engine") / "requests.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
        patch.setenv(recording.LOG, str(log))
        cluster = start_local(2)
        try:
            yield log
        finally:
            cluster.leave()


@pytest.fixture
def new_lane(engine_log: Path) -> Iterator[Lane]:
    """A lane for one test, not started."""
    lane = Lane(engine_log)
    yield lane
    lane.stop()


@pytest.fixture(scope="module")
def lane(engine_log: Path) -> Iterator[Lane]:
    """A lane of the recording engine, which takes its options from every cell anew."""
    lane = Lane(engine_log)
    lane.start(recording_cell("chat"))
    yield lane
    lane.stop()


@pytest.fixture
def paced_lane(new_lane: Lane) -> Lane:
    """A lane of the simulated engine in real time."""
    new_lane.start(paced_cell("chat", users=1, num_workflows=1))
    return new_lane


@pytest.fixture
def paced_lane_of_roles(new_lane: Lane) -> tuple[Lane, Cell]:
    """A lane of two engines, and the cell it is for."""
    cell = paced_cell("multi_agent_coding", users=2, num_workflows=2)
    small = {"model": cell.model.model_dump(), "engine": {**cell.engine.model_dump(), "max_num_seqs": 2}}
    cell = Cell.model_validate({**cell.canonical(), "roles": {"coder": small, "reviewer": small}})
    new_lane.start(cell)
    return new_lane, cell
