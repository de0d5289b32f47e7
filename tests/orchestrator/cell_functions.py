"""Functions that workers run in tests; the ``repeat`` of the cell selects the outcome."""

import os
import signal
import socket
import time
from pathlib import Path

from orchestrator.errors import InfeasibleCell
from orchestrator.records.record import CellResult
from orchestrator.spec.cell import Cell

FAILS, EXITS, INFEASIBLE, DIES_ONCE, DIES, SLEEPS, UNPICKLABLE = range(100, 107)


SCRATCH = "CELL_FUNCTIONS_SCRATCH"


class UsersOwnError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and\n{two}")


def a_result(**provenance: object) -> CellResult:
    return CellResult(
        status="ok",
        simulated=True,
        reasons=(),
        window={},
        phases=(),
        provenance=provenance,
        metrics={"window_s": 1.0},
        series={},
    )


def run(cell: Cell) -> CellResult:
    match cell.repeat:
        case 100:
            raise UsersOwnError(1, 2)
        case 101:
            raise SystemExit(4)
        case 102:
            raise InfeasibleCell("does not fit")
        case 103 if not (Path(os.environ[SCRATCH]) / "died").exists():
            (Path(os.environ[SCRATCH]) / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case 104:
            os.kill(os.getpid(), signal.SIGKILL)
        case 105:
            time.sleep(60)
        case 106:
            return a_result(handle=socket.socket())
    return a_result(pid=os.getpid())


def run_on_a_node(cell: Cell) -> CellResult:
    """Take long enough that both nodes must take part, and return the id of the node."""
    import ray

    time.sleep(0.3)
    return a_result(node=ray.get_runtime_context().get_node_id())
