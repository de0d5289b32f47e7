"""An engine on the wall clock with a fault given as an option; a request takes ten milliseconds.

The environment variable `SCRATCH` names its folder.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from orchestrator.errors import CellError, InfrastructureError
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.cell import Cell
from orchestrator.spec.engine import EngineOptions
from workflows.clock import Clock
from workflows.request import Completion, Request

SCRATCH = "FAULTY_ENGINE_SCRATCH"


CHILD = "FAULTY_ENGINE_CHILD"
"""Environment variable of the child process that each engine starts, in a session of its own."""


class Options(EngineOptions):
    """With ``once`` the fault occurs only once: a mark file records it."""

    fault: Literal[
        "none",
        "refuses",
        "fails_to_start",
        "hangs_at_start",
        "trouble",
        "stalls",
        "crawls",
        "killed",
        "stopped",
        "kills_raylet",
        "stops_raylet",
        "bad_request",
    ] = "none"
    once: bool = True


_OF_RAYLET = {"kills_raylet": signal.SIGKILL, "stops_raylet": signal.SIGSTOP}


def check(cell: Cell) -> None:
    pass


def build(cell: Cell, clock: Clock) -> "FaultyEngine":
    return FaultyEngine(cell)


class FaultyEngine:
    def __init__(self, cell: Cell) -> None:
        self._options = cell.engine
        self._scratch = Path(os.environ[SCRATCH])
        self._child: subprocess.Popen[bytes] | None = None
        self._trouble: str | None = None
        self._n_done = 0

    def _faulty(self, fault: str) -> bool:
        """Return whether the fault occurs here; leave a mark."""
        mark = self._scratch / f"{fault}.done"
        if self._options.fault != fault or (self._options.once and mark.exists()):
            return False
        mark.touch()
        return True

    async def start(self) -> EngineStart:
        self._child = subprocess.Popen(  # noqa: ASYNC220 - as any engine does, once
            [sys.executable, "-c", "import time; time.sleep(600)"],
            env={**os.environ, CHILD: str(self._scratch)},
            start_new_session=True,
        )
        (self._scratch / "starts").open("a").write(f"{self._options.fault}\n")
        if self._faulty("refuses"):
            raise CellError("the engine knows no argument 'fault'")
        if self._faulty("fails_to_start"):
            raise InfrastructureError("the driver of the GPU does not answer")
        if self._faulty("hangs_at_start"):
            time.sleep(600)  # noqa: ASYNC251 - the process answers no call any more
        return EngineStart(provenance={"faulty": "yes"}, pids=(self._child.pid,))

    async def begin(self, cell: Cell, origin_s: float) -> None:
        self._n_done = 0

    async def _strike(self, number: signal.Signals) -> None:
        """Signal the raylet of the victim's node; on the other node wait for that, or all cells could end first."""
        struck = self._scratch / "struck"
        if _node_id() == (self._scratch / "victim").read_text():
            struck.touch()
            os.kill(os.getppid(), number)
            await asyncio.sleep(600)
        while not struck.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.05)

    async def generate(self, request: Request) -> Completion:
        submitted_s = time.monotonic()
        await asyncio.sleep(0.01)
        if self._faulty("trouble"):
            self._trouble = "the engine core (pid 7) was killed by SIGKILL"
        if self._faulty("stalls"):
            await asyncio.sleep(600)
        while self._options.fault == "crawls":
            self._n_done += 1
            await asyncio.sleep(0.1)
        if self._faulty("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._faulty("stopped"):
            os.kill(os.getpid(), signal.SIGSTOP)
        if self._options.fault in _OF_RAYLET:
            await self._strike(_OF_RAYLET[self._options.fault])
        if self._faulty("bad_request"):
            raise CellError("request 1 is too long")
        if self._trouble:
            await asyncio.sleep(600)
        self._n_done += 1
        now_s = time.monotonic()
        return Completion(
            request_id=request.request_id,
            output_tokens=request.output_tokens,
            cached_tokens=0,
            n_preemptions=0,
            submitted_s=submitted_s,
            scheduled_s=submitted_s,
            first_token_s=now_s,
            finished_s=now_s,
        )

    async def series(self):
        return {}

    def progress(self) -> int:
        return self._n_done

    def trouble(self) -> str | None:
        return self._trouble

    async def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()


def _node_id() -> str:
    import ray

    node: str = ray.get_runtime_context().get_node_id()
    return node
