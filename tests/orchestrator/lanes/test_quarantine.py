"""Engines that do not start: when the engine is given up, and when the node is excluded."""

import pytest

from orchestrator.errors import CellError, InfeasibleCell, InfrastructureError, JoulegridError
from orchestrator.lanes.quarantine import EngineStarted, NotReleased, OtherGpu, Quarantine, StartFailed

ERRORS = {
    "lost": InfrastructureError("it hung"),
    "refused": CellError("unknown argument"),
    "other": OtherGpu("node n has <A>, the cell says <B>"),
}


def _failed(key: str, node: str, error: JoulegridError) -> StartFailed:
    return StartFailed(engine_key=key, node=node, error=error, was_placed=True, found_no_place=False)


def _after(*events: tuple[str, str, str], max_attempts: int = 3) -> Quarantine:
    quarantine = Quarantine(max_attempts=max_attempts)
    for what, key, node in events:
        started = EngineStarted(engine_key=key, node=node)
        quarantine = quarantine.after(started if what == "ok" else _failed(key, node, ERRORS[what]))
    return quarantine


@pytest.mark.parametrize(
    ("events", "reason"),
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
def test_when_an_engine_is_started_no_more(events, reason):
    error = _after(*events).engine_error("k")
    assert (None if error is None else str(error)) == reason
    assert error is None or type(error) is CellError


@pytest.mark.parametrize(
    ("events", "excluded"),
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
def test_when_a_node_gets_no_more_lanes(events, excluded):
    assert set(_after(*events).excluded(frozenset({"n", "m"}))) == excluded


def test_the_last_node_is_never_excluded():
    quarantine = _after(("lost", "k", "n"), ("lost", "other", "n"))
    assert quarantine.excluded(frozenset({"n"})) == {}
    assert quarantine.excluded(frozenset({"n", "m"}))["n"] == "2 engines did not start on it: it hung"


def test_a_node_with_memory_not_released_is_excluded_even_if_it_is_the_last():
    quarantine = _after(("lost", "k", "m"), ("lost", "other", "m"))
    quarantine = quarantine.after(NotReleased(node="n", error=InfrastructureError("GPU memory was not freed")))
    assert quarantine.excluded(frozenset({"n"})) == {"n": "GPU memory was not freed"}
    assert set(quarantine.excluded(frozenset({"n", "m"}))) == {"n"}  # m is the last that can be used at all


def test_a_node_with_another_gpu_is_avoided():
    assert _after(("other", "k", "n")).failed_on("k") == frozenset({"n"})


def test_a_subclass_of_the_cells_error_is_the_engines_fault_too():
    quarantine = Quarantine(max_attempts=3).after(_failed("k", "n", InfeasibleCell("too large")))
    assert str(quarantine.engine_error("k")) == "too large"
    assert quarantine.failed_on("k") == frozenset()


def test_a_lane_without_a_place_says_nothing_of_its_engine():
    quarantine = Quarantine(max_attempts=1)
    event = StartFailed(engine_key="k", node="n", error=ERRORS["lost"], was_placed=False, found_no_place=True)
    assert quarantine.after(event) == quarantine
    assert quarantine.after(NotReleased(node=None, error=ERRORS["lost"])) == quarantine
