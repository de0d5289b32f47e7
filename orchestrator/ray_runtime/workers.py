"""Workers: long-lived Ray actors, one per slot, that run cells in virtual time and are replaced when lost."""

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
    """An actor and its calls before the first cell."""

    actor: Any
    hello: Any
    prepared: Any
    name: str = "unknown"
    host: str = "unknown"
    node: str | None = None


@dataclass(frozen=True, slots=True)
class _Running:
    worker: _Worker
    cell: Cell
    started_unix_s: float


class WorkerPool:
    """Starts workers as cells are submitted, at most ``slots`` of them."""

    def __init__(
        self, cluster: RayCluster, slots: int, settings: ClusterSettings, function: Callable[[Cell], CellResult]
    ) -> None:
        """Create a pool that runs ``function``, importable on every node, for every cell."""
        self._cluster = cluster
        self._slots = slots
        self._settings = settings
        self._function = function
        self._waiting: deque[Cell] = deque()
        self._idle: deque[_Worker] = deque()
        self._starting: dict[Any, _Worker] = {}
        self._running: dict[Any, _Running] = {}
        self._failed_starts: list[str] = []
        self._none_since_s: float | None = None
        self._any_ready = False
        self._any_ended = False
        self._gave_up: str | None = None

    @property
    def has_room(self) -> bool:
        """Whether a slot is free for one more cell."""
        return len(self._waiting) + len(self._running) < self._slots

    @property
    def is_busy(self) -> bool:
        """Whether a cell runs or waits for a worker."""
        return bool(self._waiting or self._running)

    @property
    def any_idle(self) -> bool:
        """Whether a worker has nothing to do."""
        return bool(self._idle)

    def submit(self, cell: Cell) -> None:
        """Give the cell to an idle worker, or keep it until one is ready."""
        self._waiting.append(cell)
        self._assign()

    def refs(self) -> Sequence[Any]:
        """Return the Ray references that workers wait for."""
        return [*self._starting, *self._running]

    def take(self, ready: Collection[Any]) -> list[Outcome]:
        """Process the references that are ready; return the cells that ended.

        Raises:
            EnvironmentFailure: a node cannot load Joulegrid, or no worker could be started; the message says why.
        """
        for ref in ready:
            if ref in self._starting:
                self._add(self._starting.pop(ref))
        outcomes = [self._finish(ref, self._running.pop(ref)) for ref in ready if ref in self._running]
        self._assign()
        return outcomes + self._fail_waiting()

    def dismiss_idle(self) -> None:
        """Kill idle workers to free their CPUs; new ones start when they are needed."""
        import ray

        while self._idle:
            ray.kill(self._idle.popleft().actor)

    def _assign(self) -> None:
        """Give waiting cells to idle workers and start workers for the others."""
        while self._waiting and self._idle:
            worker, cell = self._idle.popleft(), self._waiting.popleft()
            self._running[worker.actor.run.remote(cell)] = _Running(worker, cell, unix_now_s())
        n_missing = len(self._waiting) - len(self._starting)
        n_free = self._slots - len(self._starting) - len(self._running) - len(self._idle)
        if not self._has_given_up:
            for _ in range(min(n_missing, n_free)):
                self._start_worker()

    @property
    def _has_given_up(self) -> bool:
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

    def _add(self, worker: _Worker) -> None:
        try:
            self._check(worker)
        except EnvironmentFailure as error:
            # a wrong set-up is best corrected at once; later in a sweep the node is only not used
            if not self._any_ended:
                raise
            self._failed_starts.append(str(error))
        except InfrastructureError as error:
            self._failed_starts.append(str(error))
        else:
            self._any_ready = True
            self._failed_starts.clear()
            self._idle.append(worker)

    def _check(self, worker: _Worker) -> None:
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

    def _finish(self, ref: Any, running: _Running) -> Outcome:
        import ray

        self._any_ended = True
        result: CellResult | JoulegridError
        try:
            result = ray.get(ref)
            self._idle.append(running.worker)
        except ray.exceptions.RayTaskError as error:
            result = as_cell_error(error.cause)
            self._idle.append(running.worker)
        except ray.exceptions.RayError as error:
            result = InfrastructureError(f"worker on {running.worker.name} was lost: {one_line(error)}")
            ray.kill(running.worker.actor)
        return _outcome(running, result)

    def _fail_waiting(self) -> list[Outcome]:
        """Return failed outcomes for the waiting cells if no worker can be started for them; else nothing."""
        if self._idle or self._running or not self._waiting:
            self._none_since_s = None
            return []
        now_s = time.monotonic()
        self._none_since_s = self._none_since_s or now_s
        if self._has_given_up and not self._starting:
            reasons = "; ".join(dict.fromkeys(self._failed_starts))
            self._gave_up = self._gave_up or f"{len(self._failed_starts)} workers in a row did not start: {reasons}"
        elif now_s - self._none_since_s > self._settings.placement_timeout_s:
            self._gave_up = self._timeout_text()
        if self._gave_up is None:
            return []
        if not self._any_ready:
            raise EnvironmentFailure(self._gave_up)
        cells, self._waiting = tuple(self._waiting), deque()
        error = InfrastructureError(self._gave_up)
        return [_outcome(_Running(_Worker(None, None, None), cell, unix_now_s()), error) for cell in cells]

    def _timeout_text(self) -> str:
        return (
            f"no worker was placed within {self._settings.placement_timeout_s:g} s at {self._settings.address}: each "
            f"needs 1 CPU, the cluster has {self._cluster.num_cpus()}, free are {self._cluster.free_cpus():g}; another "
            "job may hold them, a node may have left, or an autoscaler may still be starting one "
            "(cluster.placement_timeout_s)"
        )


def _outcome(running: _Running, result: CellResult | JoulegridError) -> Outcome:
    return Outcome(
        cell=running.cell,
        host=running.worker.host,
        node=running.worker.node,
        started_unix_s=running.started_unix_s,
        ended_unix_s=unix_now_s(),
        result=None if isinstance(result, JoulegridError) else result,
        error=result if isinstance(result, JoulegridError) else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Version and place of an actor; ``gpu_ids`` are Ray's ids of the GPUs that it holds."""

    version: str
    host: str
    node: str
    pid: int
    gpu_ids: tuple[str, ...] = ()

    @classmethod
    def of_this_process(cls, gpu_ids: tuple[str, ...] = ()) -> "Hello":
        """Return the version and place of the actor that calls it."""
        import ray

        node: str = ray.get_runtime_context().get_node_id()
        version = orchestrator.__version__
        return cls(version=version, host=socket.gethostname(), node=node, pid=os.getpid(), gpu_ids=gpu_ids)


def check_version(hello: Hello) -> None:
    """Check that an actor's node runs the version of this process.

    Raises:
        EnvironmentFailure: it runs another one.
    """
    if hello.version != orchestrator.__version__:
        raise EnvironmentFailure(
            f"node {hello.host} runs joulegrid {hello.version}, this process {orchestrator.__version__}; "
            "install the same version on every node"
        )


class CellWorker:
    """A Ray actor that runs one cell at a time. ``__init__`` does nothing that can fail."""

    def __init__(self) -> None:
        self._function: Callable[[Cell], CellResult] | None = None

    def hello(self) -> Hello:
        """Return version and place."""
        return Hello.of_this_process()

    def prepare(self, function: Callable[[Cell], CellResult]) -> None:
        """Keep the function that runs a cell; that it is imported here is what may fail."""
        self._function = function

    def run(self, cell: Cell) -> CellResult | JoulegridError:
        """Return the result or the error: an error is not raised, so that no exception class of the user is pickled."""
        if self._function is None:
            raise AssertionError("prepare comes before run")
        try:
            return self._function(cell)
        except (Exception, SystemExit) as raised:  # supervisor: an error ends only this cell, exit() too
            return as_cell_error(raised)
