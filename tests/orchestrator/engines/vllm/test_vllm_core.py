"""Start and end of the processes of the core, with a sleeping child in place of vLLM."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from vllm_cells import a_cell

from orchestrator.engines.vllm import arguments, build
from orchestrator.engines.vllm import core as core_module
from orchestrator.engines.vllm.arguments import hub_offline_if_local
from orchestrator.engines.vllm.core import Core
from orchestrator.errors import InfrastructureError
from workflows.clock import MonotonicClock

CHILD = [sys.executable, "-c", "import time; time.sleep(30)"]


class FakeLLM:
    """An engine whose core is a child process, and whose shutdown fails."""

    def __init__(self):
        self.child = subprocess.Popen(CHILD)

    def shutdown(self):
        raise RuntimeError("vLLM could not shut down")


@pytest.fixture
def core(monkeypatch):
    monkeypatch.setattr(core_module, "configure", lambda arguments: arguments)
    monkeypatch.setattr(core_module, "_END_TIMEOUT_S", 0.1)
    core = Core()
    core.prepare()
    return core


def test_a_failed_shutdown_leaves_no_process_and_no_folder(core, monkeypatch):
    monkeypatch.setattr(core_module, "start_core", lambda config, folder: FakeLLM())

    async def live():
        llm = await core.start({})
        assert core.pids == (llm.child.pid,)
        with pytest.raises(RuntimeError, match="could not shut down"):
            await core.close()
        return llm

    llm = asyncio.run(live())
    assert llm.child.wait() in (0, -signal.SIGKILL)  # 0: reaped before
    assert core.trouble() is not None
    assert not core.folder.exists()


def test_a_process_started_by_the_serving_core_ends_with_it(core, monkeypatch):
    code = (
        f"import subprocess, time; time.sleep(0.5); print(subprocess.Popen({CHILD!r}).pid, flush=True); time.sleep(30)"
    )

    class WithHelper:
        def __init__(self):
            self.child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)

        def shutdown(self):
            self.child.kill()
            self.child.wait()

    monkeypatch.setattr(core_module, "start_core", lambda config, folder: WithHelper())

    async def live():
        llm = await core.start({})
        assert core.pids == (llm.child.pid,)
        with llm.child.stdout as output:
            helper = psutil.Process(int(await asyncio.to_thread(output.readline)))
        await core.close()
        return helper

    helper = asyncio.run(live())
    assert not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE


def test_a_start_cancelled_before_the_core_exists_leaves_no_process(core, monkeypatch):
    entered, children = threading.Event(), []

    def start_core(config, folder):
        entered.set()
        time.sleep(0.6)
        children.append(subprocess.Popen(CHILD))
        raise RuntimeError(f"the core exited with {children[0].wait()}")

    monkeypatch.setattr(core_module, "start_core", start_core)

    async def give_up():
        task = asyncio.create_task(core.start({}))
        await asyncio.to_thread(entered.wait)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert children == []
        await core.close()

    asyncio.run(give_up())
    assert [child.returncode for child in children] == [-signal.SIGKILL]
    assert not core.folder.exists()


def test_a_full_disk_is_an_infrastructure_error(monkeypatch):
    def full(model):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "environ", os.environ.copy())  # restores the variables that the engine sets
    monkeypatch.setattr(arguments, "write_checkpoint", full)
    engine = build(a_cell(), MonotonicClock())

    async def start():
        try:
            await engine.start()
        finally:
            await engine.close()

    with pytest.raises(InfrastructureError, match=r"cannot be written on this node: .* No space left on device"):
        asyncio.run(start())


def test_closing_an_engine_that_was_not_started_ends_no_process(core):
    child = subprocess.Popen(CHILD)
    try:
        asyncio.run(Core().close())
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
        asyncio.run(core.close())


def test_the_hub_is_offline_only_for_a_local_model(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    seen = []
    for model in (str(tmp_path), "somebody/model"):
        with hub_offline_if_local(model):
            seen.append(os.environ.get("HF_HUB_OFFLINE"))
        assert "HF_HUB_OFFLINE" not in os.environ
    assert seen == ["1", None]
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with hub_offline_if_local(str(tmp_path)):
        assert os.environ["HF_HUB_OFFLINE"] == "0"
