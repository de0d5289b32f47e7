"""Closing an engine, without Ray."""

from types import SimpleNamespace

from orchestrator.execution.lanes.held_engine import HeldEngine
from orchestrator.settings import ClusterSettings


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
