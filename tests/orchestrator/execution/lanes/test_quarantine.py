"""Engines that do not start: the engine's fault, or the node's."""

import pytest

from orchestrator.errors import CellError, InfeasibleCell, InfrastructureError
from orchestrator.execution.lanes.quarantine import Quarantine

LOST = InfrastructureError("it hung")


def _after(*events: tuple[str, str, str], max_attempts: int = 3) -> Quarantine:
    found = Quarantine(max_attempts)
    for what, key, node in events:
        if what == "ok":
            found.started(key, node)
        else:
            found.failed(key, node, LOST if what == "lost" else CellError("unknown argument"))
    return found


@pytest.mark.parametrize(
    ("events", "doomed"),
    [
        ([("lost", "k", "n")], None),
        ([("refused", "k", "n")], "unknown argument"),
        ([("lost", "k", "n"), ("lost", "k", "m")], "the engine did not start, 2 times on 2 nodes: it hung"),
        ([("lost", "k", "n")] * 2, None),
        ([("lost", "k", "n")] * 3, "the engine did not start, 3 times on 1 nodes: it hung"),
        ([("lost", "other", "n"), ("lost", "k", "m")], None),
    ],
)
def test_when_an_engine_is_started_no_more(events, doomed):
    error = _after(*events).doomed("k")
    assert (None if error is None else str(error)) == doomed
    assert error is None or type(error) is CellError


@pytest.mark.parametrize(
    ("events", "barred"),
    [
        ([("lost", "k", "n")], set()),
        ([("lost", "k", "n"), ("lost", "other", "n")], {"n"}),
        ([("refused", "k", "n"), ("refused", "other", "n")], set()),
        ([("lost", "k", "n"), ("refused", "other", "n")], set()),
        ([("lost", "k", "n")] * 2, set()),
        ([("ok", "k", "m"), *[("lost", "k", "n")] * 2], {"n"}),
        ([*[("lost", "k", "n")] * 2, ("ok", "k", "m")], {"n"}),
        ([("ok", "k", "n"), *[("lost", "k", "n")] * 2], set()),
    ],
)
def test_when_a_node_gets_no_more_lanes(events, barred):
    assert set(_after(*events).nodes(frozenset({"n", "m"}))) == barred


def test_the_last_node_is_never_barred():
    found = _after(("lost", "k", "n"), ("lost", "other", "n"))
    assert found.nodes(frozenset({"n"})) == {}
    assert found.nodes(frozenset({"n", "m"}))["n"] == "2 engines did not start on it: it hung"


def test_a_subclass_of_the_cells_error_is_the_engines_fault_too():
    found = Quarantine(3)
    found.failed("k", "n", InfeasibleCell("too large"))
    assert str(found.doomed("k")) == "too large"
    assert found.failed_on("k") == frozenset()
