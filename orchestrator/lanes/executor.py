"""Cells on Ray: workers for those in virtual time, lanes for those on an engine of their own."""

import os
import time
from collections.abc import Callable, Hashable, Sequence

from orchestrator.errors import EnvironmentFailure
from orchestrator.lanes.pool import LanePool
from orchestrator.ray_runtime.cluster import RayCluster, join, start_local
from orchestrator.ray_runtime.workers import WorkerPool
from orchestrator.records.record import CellResult, LaneRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.executor import Outcome

_CHECK_EVERY_S = 0.2  # for what no reference tells: timeouts, places that came free
_CLOSE_TIMEOUT_S = 4.0  # of the ten in which everything is given back after an interrupt


class RayExecutor:
    """Runs cells on a local Ray or a cluster; workers and lanes appear as cells need them."""

    name = "ray"

    def __init__(
        self,
        cluster: ClusterSettings,
        function: Callable[[Cell], CellResult],
        *,
        block_of: Callable[[Cell], Hashable] = lambda cell: cell.repeat,
        max_attempts: int = 3,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Run cells on the Ray that ``cluster`` names.

        Args:
            cluster: which, and its timeouts.
            function: importable on every node, for cells in virtual time; the others run on lanes.
            block_of: cells of a block are all begun before those of the next.
            max_attempts: how often an engine may fail to start on the same node.
            warn: told of nodes that are used no more.
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
        """Start Ray (about 3 s) or join one (about 1 s).

        Raises:
            EnvironmentFailure: Ray cannot be reached, or has no CPU for a worker.
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
        """One kind of cells at a time, because either holds what the other needs; the quick ones first."""
        workers, lanes = self._pools()
        if lanes.is_empty:
            first = next((index for index, cell in enumerate(queue) if _is_virtual(cell)), None)
            if first is not None:
                return first if workers.has_room else None
        real = [index for index, cell in enumerate(queue) if not _is_virtual(cell)]
        if not real:
            lanes.end_idle()
            return None
        if workers.is_busy or workers.dismiss_idle():  # Ray counts what they held as free a little later
            return None
        chosen = lanes.choose([queue[index] for index in real])
        return None if chosen is None else real[chosen]

    def submit(self, cell: Cell) -> None:
        """Hand the cell to a worker or a lane."""
        workers, lanes = self._pools()
        if _is_virtual(cell):
            workers.submit(cell)
        else:
            lanes.submit(cell)

    def wait(self, timeout_s: float) -> Sequence[Outcome]:
        """Outcomes as they come.

        Raises:
            EnvironmentFailure: not one worker or lane could be started; the message lists the causes.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            outcomes = self._take(min(_CHECK_EVERY_S, max(0.0, deadline_s - time.monotonic())))
            if outcomes or time.monotonic() >= deadline_s:
                return outcomes

    def lanes(self) -> Sequence[LaneRecord]:
        """Records of lanes whose engine started or ended since the last call."""
        told, self._last_records = self._last_records, ()
        return told if self._lanes is None else (*told, *self._lanes.records())

    def close(self) -> None:
        """End the lanes and leave Ray, which kills the workers; a Ray of our own ends."""
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
        asked = [*workers.refs(), *lanes.refs()]
        if asked:
            ray.wait(asked, num_returns=1, timeout=timeout_s)
        ready = set(ray.wait(asked, num_returns=len(asked), timeout=0)[0]) if asked else set()
        outcomes = workers.take(ready) + lanes.take(ready)
        if not asked and not outcomes:
            time.sleep(timeout_s)
        return outcomes

    def _pools(self) -> tuple[WorkerPool, LanePool]:
        if self._workers is None or self._lanes is None:
            raise AssertionError("start comes first")
        return self._workers, self._lanes


def _is_virtual(cell: Cell) -> bool:
    return cell.engine.clock == "virtual"
