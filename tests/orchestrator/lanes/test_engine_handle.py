"""Closing an engine, without Ray."""

from types import SimpleNamespace

import pytest

from orchestrator.errors import InfrastructureError
from orchestrator.lanes import engine_handle
from orchestrator.lanes.engine_handle import EngineHandle
from orchestrator.spec.settings import ClusterSettings


class _Actors:
    """Actors that Ray never placed."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.collector = SimpleNamespace(settle=SimpleNamespace(remote=lambda timeout_s: self.calls.append("settle")))

    def are_placed(self) -> bool:
        return False

    def kill_engine(self) -> None:
        self.calls.append("kill")

    def remove(self) -> None:
        self.calls.append("remove")


def test_a_lane_that_was_never_placed_closes_at_once():
    engine, actors = EngineHandle("a-lane", ClusterSettings(), None), _Actors()
    engine._actors = actors
    assert list(engine.closed()) == []
    assert actors.calls == ["kill", "remove"]


def _run(steps, silent):
    """Every reference is ready at once, except the silent one."""
    wait = next(steps)
    while True:
        (ref,) = wait.refs
        wait = steps.send(None if ref == silent else ref)


@pytest.mark.parametrize(("silent", "text"), [("settle", "processes and memory"), ("restore", "as they were found")])
def test_what_a_collector_does_not_confirm_is_no_success(monkeypatch, silent, text):
    """Its driver hangs: the limits may still be set, and the lane must not report that they are not."""
    engine, actors = EngineHandle("a-lane", ClusterSettings(), None), _Actors()
    methods = {name: SimpleNamespace(remote=lambda *arguments, name=name: name) for name in ("restore", "settle")}
    actors.collector = SimpleNamespace(**methods)
    engine._actors, engine._watch, engine._is_lost = actors, "watch", True
    monkeypatch.setattr(engine_handle, "value_of", lambda ref: None)
    with pytest.raises(InfrastructureError, match=text):
        _run(engine.closed(), silent)
    assert actors.calls[-1] == "remove"


def test_limits_are_waited_for_whatever_becomes_of_the_memory(monkeypatch):
    engine, actors = EngineHandle("a-lane", ClusterSettings(), None), _Actors()
    methods = {name: SimpleNamespace(remote=lambda *arguments, name=name: name) for name in ("restore", "settle")}
    actors.collector = SimpleNamespace(**methods)
    engine._actors, engine._watch, engine._is_lost = actors, "watch", True
    values = []

    def value_of(ref):
        values.append((ref, "remove" in actors.calls))
        raise InfrastructureError(f"no {ref}")

    monkeypatch.setattr(engine_handle, "value_of", value_of)
    with pytest.raises(InfrastructureError, match="no settle; no restore"):
        _run(engine.closed(), None)
    assert values == [("settle", False), ("restore", False)]
