"""Calls on a collector whose driver hangs, without Ray."""

import asyncio
from types import SimpleNamespace

import pytest

from orchestrator.errors import InfrastructureError
from orchestrator.ray_runtime import actor_calls
from orchestrator.ray_runtime.actor_calls import RemoteMonitor


@pytest.mark.parametrize(
    ("call", "doing"),
    [
        (lambda monitor: monitor.prepare(None), "sets its GPUs"),
        (lambda monitor: monitor.latest(), "reads its GPUs"),
        (lambda monitor: monitor.series(None, 0.0, 1.0, {}), "hands out its samples"),
    ],
)
def test_a_driver_that_hangs_does_not_hold_the_cell(monkeypatch, call, doing):
    async def never(ref, actor_name):
        await asyncio.Event().wait()

    monkeypatch.setattr(actor_calls, "call_result", never)
    monkeypatch.setattr(actor_calls, "_TIMEOUT_S", 0.02)
    method = SimpleNamespace(remote=lambda *arguments: None)
    monitor = RemoteMonitor(SimpleNamespace(prepare=method, latest=method, series=method))
    with pytest.raises(InfrastructureError, match=f"has not answered for 0.02 s while it {doing}"):
        asyncio.run(call(monitor))
