"""The actor that runs cells: it lives in a Ray worker process and holds one slot of the cluster."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

import orchestrator
from orchestrator.errors import EnvironmentFailure, JoulegridError, as_cell_error
from orchestrator.records.record import CellResult
from orchestrator.spec.cell import Cell


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
