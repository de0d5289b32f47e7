"""A driver that hangs: a one-line error within a bounded time."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from driven_cells import a_driven_cell

from orchestrator.errors import CellError, EnvironmentFailure, InfrastructureError
from orchestrator.monitor import local
from orchestrator.monitor.timeout import DriverHangs, await_within, call_within
from orchestrator.ray_runtime import preflight
from orchestrator.runner.local import run_cell
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.executor import InlineExecutor
from tests.fake_nvml.fake_gpus import FakeGpus
from tests.fake_nvml.layout import CallClass

HUNG_S = 2.0


@pytest.fixture
def hanging(machine, monkeypatch) -> Iterator[FakeGpus]:
    """Fake GPUs; calls that hung have ended before they are removed."""
    monkeypatch.setattr(local, "_TIMEOUT_S", 3.0)
    monkeypatch.setattr(local, "_HUNG_TIMEOUT_S", 0.1)
    yield machine
    for thread in threading.enumerate():
        if thread.name == "joulegrid-driver":
            thread.join(30)


def _refuse() -> None:
    raise CellError("out of range")


def test_a_call_in_time_returns_its_value_or_raises_its_error():
    assert call_within(5, "counted", lambda: 7) == asyncio.run(await_within(5, "counted", lambda: 7)) == 7
    with pytest.raises(CellError, match="out of range"):
        call_within(5, "counted", _refuse)
    with pytest.raises(CellError, match="out of range"):
        asyncio.run(await_within(5, "counted", _refuse))


def test_a_call_that_hangs_raises_and_is_left_behind():
    with pytest.raises(DriverHangs, match=r"has not answered for 0\.01 s while it counted: does the GPUs' driver hang"):
        call_within(0.01, "counted", lambda: time.sleep(0.5))
    begun_s = time.monotonic()
    with pytest.raises(DriverHangs, match="while it counted"):
        asyncio.run(await_within(0.01, "counted", lambda: time.sleep(HUNG_S)))
    assert time.monotonic() - begun_s < HUNG_S


def test_a_cancelled_task_does_not_wait():
    async def cancelled() -> None:
        task = asyncio.create_task(await_within(60, "counted", lambda: time.sleep(HUNG_S)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    begun_s = time.monotonic()
    asyncio.run(cancelled())
    assert time.monotonic() - begun_s < HUNG_S


@pytest.mark.slow
@pytest.mark.parametrize(
    ("calls", "limit_w", "doing"),
    [(CallClass.DEVICE, None, "opened the sensors"), (CallClass.LIMIT_SET, 300, "set the GPUs")],
)
def test_an_inline_cell_on_a_driver_that_hangs_ends_with_one_line(hanging, calls, limit_w, doing):
    hanging[0].delay(calls, 6_000)
    executor = InlineExecutor(run_cell)
    executor.submit(a_driven_cell(power_limit_w=limit_w))
    (outcome,) = executor.wait(0)
    hanging[0].mend(calls)
    assert isinstance(outcome.error, InfrastructureError)
    assert f"while it {doing}: does the GPUs' driver hang?" in str(outcome.error)
    assert "\n" not in str(outcome.error)


def test_a_driver_that_hangs_before_the_sweep_is_an_environment_failure(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(preflight, "_DETECTION_TIMEOUT_S", 0.01)
    monkeypatch.setattr(preflight, "gpu_names", lambda: time.sleep(0.5))
    with pytest.raises(EnvironmentFailure, match="while it listed its GPUs: does the GPUs' driver hang"):
        preflight.surroundings_of(ClusterSettings())
