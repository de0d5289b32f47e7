"""The life of vLLM's processes: started beside a running loop, watched, accounted for when lost, ended for certain."""

import asyncio
import gc
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.engines.vllm.core_start import configure, iterations_path, log_path, start_core
from orchestrator.engines.vllm.errors import cause_in, not_installed, raised_by, refusal
from orchestrator.engines.vllm.processes import EngineProcesses, exit_text
from orchestrator.errors import InfrastructureError, JoulegridError

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.engine.async_llm import AsyncLLM
import os
import tempfile
import uuid

_LOOK_S = 0.25
_START_LIMIT_S = 3600.0
"""The largest models take most of an hour to load from a slow disk."""
_END_S = 5.0
_EXIT_CODE_S = 2.0
_CORE_FAILED = "Engine core initialization failed"
_EXIT_CODE = re.compile(r"'EngineCore[^']*': (-?\d+)")
_NAME = re.compile(r"^joulegrid-vllm-(\d+)-(\d+)-(\d+)-[0-9a-f]{32}$")
_START_FIELD = 22
"""Of /proc/PID/stat, see proc(5): clock ticks from the boot to the start of the process."""


class Core:
    """vLLM's engine core, its workers, and the folder they write to."""

    def __init__(self) -> None:
        self.folder = new_folder()
        self._llm: AsyncLLM | None = None
        self._processes = EngineProcesses()
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm-start")
        self._call: Future[Any] | None = None

    @property
    def iterations_path(self) -> Path:
        """What the scheduler records."""
        return iterations_path(self.folder)

    def prepare(self) -> None:
        """Make the folder, remove those of engines whose owner was killed, and expect processes from now on."""
        remove_abandoned()
        self.folder.mkdir(mode=0o700)
        self._processes.expect()

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the core and its workers."""
        return self._processes.pids

    async def start(self, arguments: dict[str, Any]) -> "AsyncLLM":
        """Start vLLM in a thread, while the loop goes on; the thread lives as long as the core.

        Raises:
            CellError: vLLM refuses what it is asked for.
            InfrastructureError: its processes were lost, or did not become ready.
        """
        try:
            config = await self._in_thread(configure, arguments)
            llm: AsyncLLM = await self._in_thread(self._started, config)
        except JoulegridError:
            raise
        except Exception as error:  # vLLM raises whatever it likes
            raise self._start_error(error) from error
        self._processes.settle()
        return llm

    def _started(self, config: "VllmConfig") -> "AsyncLLM":
        """Noted by the thread itself: whoever waits may have gone by then."""
        self._llm = start_core(config, self.folder)
        return self._llm

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what blocks, watching the processes it starts."""
        deadline_s = time.monotonic() + _START_LIMIT_S
        self._call = self._starter.submit(function, *arguments)
        running = asyncio.wrap_future(self._call)
        while not (await asyncio.wait({running}, timeout=_LOOK_S))[0]:
            self._processes.look()
            trouble = self._processes.stopped()
            if trouble is None and time.monotonic() > deadline_s:
                trouble = f"vLLM was not ready after {_START_LIMIT_S:g} s"
            if trouble is not None:
                self._processes.kill()
                await asyncio.wait({running})
                raise InfrastructureError(trouble) from running.exception()
        return running.result()

    def _start_error(self, error: Exception) -> JoulegridError:
        if _CORE_FAILED not in str(error):
            return not_installed(error) or refusal(raised_by(error))
        code = _EXIT_CODE.search(str(error))
        if code is not None and int(code.group(1)) < 0:
            return InfrastructureError(f"vLLM's engine core {exit_text(int(code.group(1)))} while it started")
        raised = cause_in(log_path(self.folder))
        if raised is None:
            return InfrastructureError(f"vLLM does not start: {raised_by(error)}")
        return refusal(raised)

    def trouble(self) -> str | None:
        """Why the core can go no further; None if it can."""
        text = self._processes.trouble()
        return text if text is None else self._explained(text)

    async def lost(self) -> InfrastructureError:
        """What became of a core that answers no more."""
        deadline_s = time.monotonic() + _EXIT_CODE_S
        while self._processes.trouble() is None and time.monotonic() < deadline_s:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
        return InfrastructureError(self.trouble() or self._explained("vLLM's engine core was lost"))

    def _explained(self, text: str) -> str:
        """With how the core exited, and what it said last."""
        code = self._exit_code()
        if code is not None:
            text = f"vLLM's engine core (process {self._processes.pids[0]}) {exit_text(code)}"
        raised = None if code is not None and code < 0 else cause_in(log_path(self.folder))
        return text if raised is None else f"{text}: {raised}"

    def _exit_code(self) -> int | None:
        """Of the core, whose parent is this process; None while it runs."""
        resources = getattr(getattr(self._llm, "engine_core", None), "resources", None)
        manager = getattr(resources, "engine_manager", None)
        codes = [process.exitcode for process in getattr(manager, "processes", ())]
        return next((code for code in codes if code is not None), None)

    async def close(self) -> None:
        """End all processes: asked first, then killed; also those of a start that failed or was given up."""
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._processes.look()  # before their parents are gone
        try:
            self._give_up_start()
            self._shut_down()
        finally:
            self._processes.look()
            self._processes.end(_END_S)
            self._starter.shutdown()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _give_up_start(self) -> None:
        """A call nobody waits for any more may yet spawn processes: each is killed until the call has ended."""
        while self._call is not None and not self._call.done():
            self._processes.look()
            self._processes.kill()
            wait({self._call}, timeout=_LOOK_S)

    def _shut_down(self) -> None:
        """Ask the core to end; one that never became ready is killed."""
        llm, self._llm = self._llm, None
        if llm is None:
            self._processes.look()  # once more: the start may have ended a moment ago
            self._processes.kill()
            return
        llm.shutdown()
        del llm
        gc.collect()  # it is part of cycles, and complains if it is collected when the interpreter ends


def new_folder() -> Path:
    """A path for an engine of this process; it is not made."""
    owner = f"{_pid_namespace()}-{os.getpid()}-{_started_ticks(os.getpid())}"
    return Path(tempfile.gettempdir()) / f"joulegrid-vllm-{owner}-{uuid.uuid4().hex}"


def remove_abandoned() -> None:
    """Remove this user's folders whose owner is gone; an owner in another container cannot be seen, and is left."""
    for folder in Path(tempfile.gettempdir()).glob("joulegrid-vllm-*"):
        match = _NAME.match(folder.name)
        if match is None:
            continue
        namespace, pid, started_ticks = map(int, match.groups())
        if namespace == _pid_namespace() and started_ticks != _started_ticks(pid):
            shutil.rmtree(folder, ignore_errors=True)  # of another user: may not be removed


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - the link leads nowhere a path could follow


def _started_ticks(pid: int) -> int | None:
    """When a process started; None if there is none. Unlike its time of day it never shifts with the clock."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    behind_name = stat.rpartition(")")[2].split()  # begins with the third field
    return int(behind_name[_START_FIELD - 3])
