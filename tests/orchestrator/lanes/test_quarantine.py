"""Engines that do not start: the engine's fault, or the node's."""

import pytest

from orchestrator.errors import CellError, InfeasibleCell, InfrastructureError
from orchestrator.lanes.quarantine import OtherGpu, Quarantine

ERRORS = {
    "lost": InfrastructureError("it hung"),
    "refused": CellError("unknown argument"),
    "other": OtherGpu("node n has <A>, the cell says <B>"),
}


def _after(*events: tuple[str, str, str], max_attempts: int = 3) -> Quarantine:
    found = Quarantine(max_attempts)
    for what, key, node in events:
        if what == "ok":
            found.started(key, node)
        else:
            found.failed(key, node, ERRORS[what])
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
        ([("ok", "k", "n"), ("lost", "k", "n"), ("lost", "k", "m")], None),
        ([("lost", "k", "n")] * 2 + [("ok", "k", "n"), ("lost", "k", "n")], None),
        ([("ok", "k", "m")] + [("lost", "k", "n")] * 3, "the engine did not start, 3 times on 1 nodes: it hung"),
        ([("other", "k", "n"), ("other", "k", "m")], None),
        ([("other", "k", "n")] * 3, f"the engine did not start, 3 times on 1 nodes: {ERRORS['other']}"),
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
        ([("lost", "k", "n"), ("ok", "k", "n"), ("lost", "other", "n")], set()),
        ([("other", "k", "n"), ("other", "j", "n")], set()),
    ],
)
def test_when_a_node_gets_no_more_lanes(events, barred):
    assert set(_after(*events).nodes(frozenset({"n", "m"}))) == barred


def test_the_last_node_is_never_barred():
    found = _after(("lost", "k", "n"), ("lost", "other", "n"))
    assert found.nodes(frozenset({"n"})) == {}
    assert found.nodes(frozenset({"n", "m"}))["n"] == "2 engines did not start on it: it hung"


def test_a_node_that_holds_on_to_memory_is_barred_even_if_it_is_the_last():
    found = _after(("lost", "k", "m"), ("lost", "other", "m"))
    found.held("n", "GPU memory was not freed")
    assert found.nodes(frozenset({"n"})) == {"n": "GPU memory was not freed"}
    assert set(found.nodes(frozenset({"n", "m"}))) == {"n"}  # m is the last that can be used at all


def test_a_node_with_another_gpu_is_avoided():
    assert _after(("other", "k", "n")).failed_on("k") == frozenset({"n"})


def test_a_subclass_of_the_cells_error_is_the_engines_fault_too():
    found = Quarantine(3)
    found.failed("k", "n", InfeasibleCell("too large"))
    assert str(found.doomed("k")) == "too large"
    assert found.failed_on("k") == frozenset()
