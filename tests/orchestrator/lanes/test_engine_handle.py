"""Closing an engine, without Ray."""

from types import SimpleNamespace

import pytest

from orchestrator.errors import InfrastructureError
from orchestrator.lanes import engine_handle
from orchestrator.lanes.engine_handle import HeldEngine
from orchestrator.spec.settings import ClusterSettings


class _Actors:
    """Actors that Ray never placed."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.collector = SimpleNamespace(settle=SimpleNamespace(remote=lambda timeout_s: self.told.append("settle")))

    def are_placed(self) -> bool:
        return False

    def kill_engine(self) -> None:
        self.told.append("kill")

    def remove(self) -> None:
        self.told.append("remove")


def test_a_lane_that_was_never_placed_closes_at_once():
    engine, actors = HeldEngine("a-lane", ClusterSettings(), None), _Actors()
    engine._actors = actors
    assert list(engine.closed()) == []
    assert actors.told == ["kill", "remove"]


def _run(steps, silent):
    """Every reference is ready at once, but for the silent one."""
    asked = next(steps)
    while True:
        (ref,) = asked.refs
        asked = steps.send(None if ref == silent else ref)


@pytest.mark.parametrize(("silent", "told"), [("settle", "processes and memory"), ("restore", "as they were found")])
def test_what_a_collector_does_not_say_is_no_success(monkeypatch, silent, told):
    """Its driver hangs: the limits may stand, and nobody is to be told that they do not."""
    engine, actors = HeldEngine("a-lane", ClusterSettings(), None), _Actors()
    calls = {name: SimpleNamespace(remote=lambda *arguments, name=name: name) for name in ("restore", "settle")}
    actors.collector = SimpleNamespace(**calls)
    engine._actors, engine._watch, engine._is_lost = actors, "watch", True
    monkeypatch.setattr(engine_handle, "value_of", lambda ref: None)
    with pytest.raises(InfrastructureError, match=told):
        _run(engine.closed(), silent)
    assert actors.told[-1] == "remove"


def test_limits_are_waited_for_whatever_becomes_of_the_memory(monkeypatch):
    engine, actors = HeldEngine("a-lane", ClusterSettings(), None), _Actors()
    calls = {name: SimpleNamespace(remote=lambda *arguments, name=name: name) for name in ("restore", "settle")}
    actors.collector = SimpleNamespace(**calls)
    engine._actors, engine._watch, engine._is_lost = actors, "watch", True
    asked = []

    def answered(ref):
        asked.append((ref, "remove" in actors.told))
        raise InfrastructureError(f"no {ref}")

    monkeypatch.setattr(engine_handle, "value_of", answered)
    with pytest.raises(InfrastructureError, match="no settle; no restore"):
        _run(engine.closed(), None)
    assert asked == [("settle", False), ("restore", False)]
