"""Ray executor: cells in virtual time run on workers, all others on lanes that keep their engine loaded."""

import os
import time
from collections.abc import Callable, Hashable, Sequence

from orchestrator.errors import EnvironmentFailure
from orchestrator.lanes.pool import LanePool
from orchestrator.lanes.turns import (
    CloseIdleLanes,
    DismissWorkers,
    UseLanes,
    UseWorker,
    WorkersView,
    is_virtual,
    next_turn,
)
from orchestrator.ray_runtime.cluster import RayCluster, join, start_local
from orchestrator.ray_runtime.workers import WorkerPool
from orchestrator.records.record import CellResult, LaneRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.executor import Outcome

_POLL_S = 0.2  # for changes without a Ray reference: timeouts, resources that became free
_CLOSE_TIMEOUT_S = 4.0  # part of the ten seconds within which an interrupted sweep ends


class RayExecutor:
    """Runs cells on a local Ray or on a cluster; workers and lanes are started when cells need them."""

    def __init__(
        self,
        cluster: ClusterSettings,
        function: Callable[[Cell], CellResult],
        *,
        block_of: Callable[[Cell], Hashable] = lambda cell: cell.repeat,
        max_attempts: int = 3,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Create an executor; `start` connects it.

        Args:
            cluster: address, number of workers and timeouts.
            function: runs a cell in virtual time; importable on every node.
            block_of: groups cells; a cell of a later block starts only if none of an earlier block can start now.
            max_attempts: failures of an engine start on one node after which the engine is given up.
            warn: called with one line for each node that is no longer used.
        """
        self._settings = cluster
        self._function = function
        self._block_of = block_of
        self._max_attempts = max_attempts
        self._warn = warn
        self._cluster: RayCluster | None = None
        self._workers: WorkerPool | None = None
        self._lanes: LanePool | None = None
        self._last_records: tuple[LaneRecord, ...] = ()

    def start(self) -> None:
        """Start a local Ray (about 3 s) or join a cluster (about 1 s).

        Raises:
            EnvironmentFailure: Ray cannot be reached or has no CPU for a worker.
        """
        settings = self._settings
        if settings.address == "local":
            self._cluster = cluster = start_local(settings.num_workers)
            n_cpus = min(cluster.num_cpus(), len(os.sched_getaffinity(0)))
        else:
            self._cluster = cluster = join(settings.address)
            n_cpus = cluster.num_cpus()
        n_workers = settings.num_workers or n_cpus
        if not n_workers:
            self.close()
            raise EnvironmentFailure(
                f"the Ray cluster at {settings.address} has no CPU for a worker: add a node with cluster/worker.sh, "
                "or set cluster.num_workers where an autoscaler adds nodes on demand"
            )
        self._workers = WorkerPool(cluster, n_workers, settings, self._function)
        self._lanes = LanePool(
            cluster, settings, block_of=self._block_of, max_attempts=self._max_attempts, warn=self._warn
        )

    def choose(self, queue: Sequence[Cell]) -> int | None:
        """Return the index of the next cell to submit; close lanes and workers whose CPUs it needs."""
        workers, lanes = self._pools()
        view = WorkersView(has_room=workers.has_room, is_busy=workers.is_busy, any_idle=workers.any_idle)
        match next_turn(queue, any_lane=not lanes.is_empty, workers=view):
            case UseWorker(index=index):
                return index
            case UseLanes(indices=indices):
                chosen = lanes.choose([queue[index] for index in indices])
                return None if chosen is None else indices[chosen]
            case CloseIdleLanes():
                lanes.close_idle()
            case DismissWorkers():
                workers.dismiss_idle()
        return None

    def submit(self, cell: Cell) -> None:
        """Give the cell to a worker or a lane."""
        workers, lanes = self._pools()
        if is_virtual(cell):
            workers.submit(cell)
        else:
            lanes.submit(cell)

    def wait(self, timeout_s: float) -> Sequence[Outcome]:
        """Return outcomes as soon as there are any, at the latest after ``timeout_s``.

        Raises:
            EnvironmentFailure: no worker or lane could be started; the message lists the reasons.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            outcomes = self._take(min(_POLL_S, max(0.0, deadline_s - time.monotonic())))
            if outcomes or time.monotonic() >= deadline_s:
                return outcomes

    def lanes(self) -> Sequence[LaneRecord]:
        """Return records of the lanes whose engine started or ended since the last call."""
        records, self._last_records = self._last_records, ()
        return records if self._lanes is None else (*records, *self._lanes.records())

    def close(self) -> None:
        """Close the lanes and disconnect from Ray, which kills the workers; a local Ray is shut down."""
        cluster, self._cluster = self._cluster, None
        lanes, self._lanes = self._lanes, None
        self._workers = None
        try:
            if lanes is not None:
                lanes.close(_CLOSE_TIMEOUT_S)
                self._last_records = (*self._last_records, *lanes.records())
        finally:
            if cluster is not None:
                cluster.leave()

    def _take(self, timeout_s: float) -> list[Outcome]:
        import ray

        workers, lanes = self._pools()
        refs = [*workers.refs(), *lanes.refs()]
        if refs:
            ray.wait(refs, num_returns=1, timeout=timeout_s)
        ready = set(ray.wait(refs, num_returns=len(refs), timeout=0)[0]) if refs else set()
        outcomes = workers.take(ready) + lanes.take(ready)
        if not refs and not outcomes:
            time.sleep(timeout_s)
        return outcomes

    def _pools(self) -> tuple[WorkerPool, LanePool]:
        if self._workers is None or self._lanes is None:
            raise AssertionError("start comes first")
        return self._workers, self._lanes
