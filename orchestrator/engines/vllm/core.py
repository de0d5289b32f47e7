"""The processes and files of a vLLM engine: start, supervision, the reason of a loss, and the end of all processes."""

import asyncio
import gc
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collectors.processes import start_ticks
from orchestrator.engines.vllm.core_start import configure, iterations_path, log_path, start_core
from orchestrator.engines.vllm.errors import exception_info, not_installed_error, root_cause, start_error
from orchestrator.engines.vllm.processes import EngineProcesses, exit_text
from orchestrator.errors import InfrastructureError, JoulegridError

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.engine.async_llm import AsyncLLM

_POLL_S = 0.25
_START_TIMEOUT_S = 3600.0
"""The largest models need most of an hour to load from a slow disk."""
_END_TIMEOUT_S = 5.0
_EXIT_CODE_TIMEOUT_S = 2.0
_CORE_FAILED = "Engine core initialization failed"
_EXIT_CODE = re.compile(r"'EngineCore[^']*': (-?\d+)")
_FOLDER_NAME = re.compile(r"^joulegrid-vllm-(\d+)-(\d+)-(\d+)-[0-9a-f]{32}$")


class Core:
    """vLLM's engine core, its workers, and their folder for logs and iteration records."""

    def __init__(self) -> None:
        self.folder = new_folder()
        self._llm: AsyncLLM | None = None
        self._processes = EngineProcesses()
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm-start")
        self._call: Future[Any] | None = None

    @property
    def iterations_path(self) -> Path:
        """The file with the records of the scheduler."""
        return iterations_path(self.folder)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes of the core and its workers."""
        return self._processes.pids

    def prepare(self) -> None:
        """Create the folder, remove the folders of killed owners, and track new child processes from now on."""
        remove_abandoned()
        self.folder.mkdir(mode=0o700)
        self._processes.expect()

    async def start(self, arguments: dict[str, Any]) -> "AsyncLLM":
        """Start vLLM in a thread that lives as long as the core, without blocking the event loop.

        Raises:
            CellError: vLLM refuses an argument, the model, or the memory.
            InfrastructureError: its processes were lost, or were not ready in time.
        """
        try:
            config = await self._in_thread(configure, arguments)
            llm: AsyncLLM = await self._in_thread(self._start_core, config)
        except JoulegridError:
            raise
        except Exception as error:  # vLLM raises exceptions of any class
            raise self._start_error(error) from error
        self._processes.mark_ready()
        return llm

    def _start_core(self, config: "VllmConfig") -> "AsyncLLM":
        """Start the core and keep it, in the thread itself: the awaiting task may have been cancelled."""
        self._llm = start_core(config, self.folder)
        return self._llm

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a blocking function in the thread, and supervise the processes that it starts."""
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        self._call = self._starter.submit(function, *arguments)
        running = asyncio.wrap_future(self._call)
        while not (await asyncio.wait({running}, timeout=_POLL_S))[0]:
            self._processes.scan()
            trouble = self._processes.stopped()
            if trouble is None and time.monotonic() > deadline_s:
                trouble = f"vLLM was not ready after {_START_TIMEOUT_S:g} s"
            if trouble is not None:
                self._processes.kill()
                await asyncio.wait({running})
                raise InfrastructureError(trouble) from running.exception()
        return running.result()

    def _start_error(self, error: Exception) -> JoulegridError:
        if _CORE_FAILED not in str(error):
            return not_installed_error(error) or start_error(exception_info(error))
        code = _EXIT_CODE.search(str(error))
        if code is not None and int(code.group(1)) < 0:
            return InfrastructureError(f"vLLM's engine core {exit_text(int(code.group(1)))} during its start")
        cause = root_cause(log_path(self.folder))
        if cause is None:
            return InfrastructureError(f"vLLM does not start: {exception_info(error)}")
        return start_error(cause)

    def trouble(self) -> str | None:
        """Return why the core cannot continue; None if it can."""
        trouble = self._processes.trouble()
        return None if trouble is None else self._with_cause(trouble)

    async def loss_error(self) -> InfrastructureError:
        """Return the error of a core that no longer responds, with the reason if it is known within 2 s."""
        deadline_s = time.monotonic() + _EXIT_CODE_TIMEOUT_S
        while self._processes.trouble() is None and time.monotonic() < deadline_s:  # noqa: ASYNC110 - no event to await
            await asyncio.sleep(0.02)
        return InfrastructureError(self.trouble() or self._with_cause("vLLM's engine core was lost"))

    def _with_cause(self, text: str) -> str:
        """Return ``text``, or the exit code of the core if known, followed by the exception in the log."""
        code = self._exit_code()
        if code is not None:
            text = f"vLLM's engine core (process {self._processes.pids[0]}) {exit_text(code)}"
        cause = None if code is not None and code < 0 else root_cause(log_path(self.folder))
        return text if cause is None else f"{text}: {cause}"

    def _exit_code(self) -> int | None:
        """Return the exit code of the core, a child of this process; None while it runs."""
        resources = getattr(getattr(self._llm, "engine_core", None), "resources", None)
        manager = getattr(resources, "engine_manager", None)
        codes = [process.exitcode for process in getattr(manager, "processes", ())]
        return next((code for code in codes if code is not None), None)

    async def close(self) -> None:
        """End all processes, by request and then by a signal, also those of a failed or cancelled start."""
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._processes.scan()  # children cannot be found once their parents have ended
        try:
            self._cancel_start()
            self._shut_down()
        finally:
            self._processes.scan()
            self._processes.end(_END_TIMEOUT_S)
            self._starter.shutdown()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _cancel_start(self) -> None:
        """Kill the processes of a start in progress until its call has ended; it may spawn more."""
        while self._call is not None and not self._call.done():
            self._processes.scan()
            self._processes.kill()
            wait({self._call}, timeout=_POLL_S)

    def _shut_down(self) -> None:
        """Request the core to end; kill one that never became ready."""
        llm, self._llm, self._call = self._llm, None, None  # the result of the call refers to the engine, too
        if llm is None:
            self._processes.scan()  # the start may have ended just before
            self._processes.kill()
            return
        llm.shutdown()
        del llm
        gc.collect()  # it is part of reference cycles, and warns if it is collected at the exit of the interpreter


def new_folder() -> Path:
    """Return a path for the files of an engine of this process, without creating it."""
    owner = f"{_pid_namespace()}-{os.getpid()}-{start_ticks(os.getpid())}"
    return Path(tempfile.gettempdir()) / f"joulegrid-vllm-{owner}-{uuid.uuid4().hex}"


def remove_abandoned() -> None:
    """Remove this user's folders whose owner has ended; folders of other PID namespaces (containers) are kept."""
    for folder in Path(tempfile.gettempdir()).glob("joulegrid-vllm-*"):
        match = _FOLDER_NAME.match(folder.name)
        if match is None:
            continue
        namespace, pid, ticks = map(int, match.groups())
        if namespace == _pid_namespace() and ticks != start_ticks(pid):
            shutil.rmtree(folder, ignore_errors=True)  # a folder of another user cannot be removed


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - the target of the link is not a path
