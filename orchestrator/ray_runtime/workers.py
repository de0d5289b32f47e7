"""Workers on Ray, for cells in virtual time: long-lived, one per slot, replaced when they are lost."""

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orchestrator
from orchestrator.errors import EnvironmentFailure, InfrastructureError, JoulegridError, as_cell_error
from orchestrator.ray_runtime.cluster import RayCluster, one_line
from orchestrator.records.provenance import unix_now_s
from orchestrator.records.record import CellResult
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.executor import Outcome

_FAILED_STARTS_PER_SLOT = 3


@dataclass(slots=True)
class _Worker:
    """An actor and what was asked of it before its first cell."""

    actor: Any
    hello: Any
    prepared: Any
    name: str = "unknown"
    host: str = "unknown"
    node: str | None = None


@dataclass(frozen=True, slots=True)
class _Try:
    worker: _Worker
    cell: Cell
    started_unix_s: float


class WorkerPool:
    """Workers appear as cells are submitted, never more than ``slots``."""

    def __init__(
        self, cluster: RayCluster, slots: int, settings: ClusterSettings, function: Callable[[Cell], CellResult]
    ) -> None:
        """Run ``function`` (importable on every node) for every cell."""
        self._cluster = cluster
        self._slots = slots
        self._settings = settings
        self._function = function
        self._waiting: deque[Cell] = deque()
        self._idle: deque[_Worker] = deque()
        self._starting: dict[Any, _Worker] = {}
        self._running: dict[Any, _Try] = {}
        self._failed_starts: list[str] = []
        self._none_since_s: float | None = None
        self._any_ready = False
        self._any_ended = False
        self._gave_up: str | None = None

    @property
    def has_room(self) -> bool:
        """Whether one more cell would run now, or as soon as a worker is placed."""
        return len(self._waiting) + len(self._running) < self._slots

    @property
    def is_busy(self) -> bool:
        """Whether a cell is running or waits for a worker."""
        return bool(self._waiting or self._running)

    def submit(self, cell: Cell) -> None:
        """Hand the cell to an idle worker, or keep it for the next that is ready."""
        self._waiting.append(cell)
        self._staff()

    def refs(self) -> Sequence[Any]:
        """What is waited for."""
        return [*self._starting, *self._running]

    def take(self, ready: Collection[Any]) -> list[Outcome]:
        """What came of the references that are ready.

        Raises:
            EnvironmentFailure: a worker's node cannot load us, or not one worker could be started, with the causes.
        """
        for ref in ready:
            if ref in self._starting:
                self._admit(self._starting.pop(ref))
        outcomes = [self._end(ref, self._running.pop(ref)) for ref in ready if ref in self._running]
        self._staff()
        return outcomes + self._without_workers()

    def dismiss_idle(self) -> bool:
        """Give the places of idle workers back, if there are any; new ones start when they are needed."""
        import ray

        dismissed, self._idle = self._idle, deque()
        for worker in dismissed:
            ray.kill(worker.actor)
        return bool(dismissed)

    def _staff(self) -> None:
        """Give waiting cells to idle workers and start workers for the rest."""
        while self._waiting and self._idle:
            worker, cell = self._idle.popleft(), self._waiting.popleft()
            self._running[worker.actor.run.remote(cell)] = _Try(worker, cell, unix_now_s())
        n_missing = len(self._waiting) - len(self._starting)
        n_free = self._slots - len(self._starting) - len(self._running) - len(self._idle)
        if not self._start_is_hopeless:
            for _ in range(min(n_missing, n_free)):
                self._start_worker()

    @property
    def _start_is_hopeless(self) -> bool:
        return self._gave_up is not None or len(self._failed_starts) >= _FAILED_STARTS_PER_SLOT * self._slots

    def _start_worker(self) -> None:
        import ray

        actor = (
            ray.remote(CellWorker)
            .options(num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD")
            .remote()
        )
        worker = _Worker(actor, actor.hello.remote(), actor.prepare.remote(self._function))
        self._starting[worker.prepared] = worker

    def _admit(self, worker: _Worker) -> None:
        try:
            self._greet(worker)
        except EnvironmentFailure as error:
            if not self._any_ended:  # a wrong node is mended best at once; hours into a sweep it is only not used
                raise
            self._failed_starts.append(str(error))
        except InfrastructureError as error:
            self._failed_starts.append(str(error))
        else:
            self._any_ready = True
            self._failed_starts.clear()
            self._idle.append(worker)

    def _greet(self, worker: _Worker) -> None:
        import ray

        try:
            hello = ray.get(worker.hello)
            check_version(hello)
            ray.get(worker.prepared)
        except ray.exceptions.RayTaskError as error:
            raise EnvironmentFailure(
                f"a worker cannot load {self._function.__module__}: {one_line(error.cause)}; install the same "
                "joulegrid and its requirements on every node"
            ) from error
        except ray.exceptions.RayError as error:
            raise InfrastructureError(one_line(error)) from error
        worker.host, worker.node, worker.name = hello.host, hello.node, f"{hello.host} (pid {hello.pid})"

    def _end(self, ref: Any, tried: _Try) -> Outcome:
        import ray

        self._any_ended = True
        result: CellResult | JoulegridError
        try:
            result = ray.get(ref)
            self._idle.append(tried.worker)
        except ray.exceptions.RayTaskError as error:
            result = as_cell_error(error.cause)
            self._idle.append(tried.worker)
        except ray.exceptions.RayError as error:
            result = InfrastructureError(f"worker on {tried.worker.name} was lost: {one_line(error)}")
            ray.kill(tried.worker.actor)
        return _outcome(tried, result)

    def _without_workers(self) -> list[Outcome]:
        """Outcomes of waiting cells once nothing can be started for them any more."""
        if self._idle or self._running or not self._waiting:
            self._none_since_s = None
            return []
        now_s = time.monotonic()
        self._none_since_s = self._none_since_s or now_s
        if self._start_is_hopeless and not self._starting:
            causes = "; ".join(dict.fromkeys(self._failed_starts))
            self._gave_up = self._gave_up or f"{len(self._failed_starts)} workers in a row did not start: {causes}"
        elif now_s - self._none_since_s > self._settings.placement_timeout_s:
            self._gave_up = self._placement_causes()
        if self._gave_up is None:
            return []
        if not self._any_ready:
            raise EnvironmentFailure(self._gave_up)
        cells, self._waiting = tuple(self._waiting), deque()
        error = InfrastructureError(self._gave_up)
        return [_outcome(_Try(_Worker(None, None, None), cell, unix_now_s()), error) for cell in cells]

    def _placement_causes(self) -> str:
        return (
            f"no worker was placed within {self._settings.placement_timeout_s:g} s at {self._settings.address}: each "
            f"needs 1 CPU, the cluster has {self._cluster.num_cpus()}, free are {self._cluster.free_cpus():g}; another "
            "job may hold them, a node may have left, or an autoscaler may still be starting one "
            "(cluster.placement_timeout_s)"
        )


def _outcome(tried: _Try, result: CellResult | JoulegridError) -> Outcome:
    return Outcome(
        cell=tried.cell,
        host=tried.worker.host,
        node=tried.worker.node,
        started_unix_s=tried.started_unix_s,
        ended_unix_s=unix_now_s(),
        result=None if isinstance(result, JoulegridError) else result,
        error=result if isinstance(result, JoulegridError) else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a worker says of itself; ``gpu_ids`` are Ray's, of the GPUs it was given."""

    version: str
    host: str
    node: str
    pid: int
    gpu_ids: tuple[str, ...] = ()


def check_version(hello: Hello) -> None:
    """Refuse a node that runs another Joulegrid.

    Raises:
        EnvironmentFailure: it does.
    """
    ours = orchestrator.__version__
    if hello.version != ours:
        raise EnvironmentFailure(
            f"node {hello.host} runs joulegrid {hello.version}, this process {ours}; "
            "install the same version on every node"
        )


class CellWorker:
    """Runs one cell at a time; made a Ray actor by the executor. Nothing that can fail is in ``__init__``."""

    def __init__(self) -> None:
        self._function: Callable[[Cell], CellResult] | None = None

    def hello(self) -> Hello:
        """Version and place."""
        import ray

        node: str = ray.get_runtime_context().get_node_id()
        return Hello(version=orchestrator.__version__, host=socket.gethostname(), node=node, pid=os.getpid())

    def prepare(self, function: Callable[[Cell], CellResult]) -> None:
        """Keep what runs a cell; importing it here is what may fail."""
        self._function = function

    def run(self, cell: Cell) -> CellResult | JoulegridError:
        """The result, or why there is none: returned, not raised, so that no class of the user's is pickled."""
        if self._function is None:
            raise AssertionError("prepare comes before run")
        try:
            return self._function(cell)
        except (Exception, SystemExit) as raised:  # the worker is a supervisor: a cell ends alone, also by exit()
            return as_cell_error(raised)
