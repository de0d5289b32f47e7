"""A load that goes on beyond the workflows it names, and the work before it."""

import pytest

from workflows.drive import Extent, drive
from workflows.graph import Shared, Step, Unique, Workflow
from workflows.load import ClosedLoad, PoissonLoad, ReplayLoad, gamma_arrivals, max_workflows
from workflows.source import EndlessSource
from workflows.warm_up import warm_up


def one_step(index):
    prompt = (Shared("system", 3), Unique("question", 5))
    ask = Step(name="ask", role="chat", prompt=prompt, output_tokens=index + 1)
    return Workflow(workflow_id=f"w{index}", tenant="lab", steps=(ask,))


class Trace:
    def __init__(self, *arrivals_s):
        self.arrivals_s = arrivals_s

    def workflow(self, index):
        assert index < len(self.arrivals_s)
        return one_step(index)


ENDLESS = EndlessSource(one_step)
CLOSED = ClosedLoad(kind="closed", users=2, num_workflows=4)


def extent(*, most=100, closed=lambda spans, n_running: True, open_=lambda times_s: True):
    return Extent(max_repetitions=most, closed=closed, open=open_)


@pytest.fixture
def driven(run, engine):
    def go(source, load, extent, seed=0):
        return run(drive(source, load, execute=engine.execute, clock=engine.clock, seed=seed, extent=extent))

    return go


def test_a_closed_loop_goes_on_with_new_workflows_until_it_is_enough(driven, engine):
    calls = []

    def enough(spans, n_running):
        calls.append((len(spans), n_running, engine.clock.now_s()))
        return engine.clock.now_s() >= 5.0

    spans = driven(ENDLESS, CLOSED, extent(closed=enough))
    assert [span.index for span in spans] == list(range(12))
    assert [span.workflow_id for span in spans] == [f"w{index}" for index in range(12)]
    assert [span.arrival_s for span in spans] == [index // 2 for index in range(12)]
    assert [at_s for _, _, at_s in calls] == [2.0, 4.0, 6.0]
    assert calls[0][:2] in ((3, 1), (4, 0))
    assert engine.most_running == 2


def test_a_closed_loop_ends_at_its_most_repetitions(driven):
    spans = driven(ENDLESS, CLOSED, extent(most=3, closed=lambda spans, n_running: False))
    assert len(spans) == 12


def test_a_load_that_may_not_be_repeated_asks_nobody(driven):
    spans = driven(ENDLESS, CLOSED, extent(most=1, closed=lambda spans, n_running: pytest.fail("asked")))
    assert len(spans) == 4


def test_a_trace_bounds_the_repetitions_to_whole_ones(driven):
    trace = Trace(*range(11))
    assert max_workflows(trace, CLOSED, 100) == 8
    assert len(driven(trace, CLOSED, extent(closed=lambda spans, n_running: False))) == 8


def test_an_open_loop_has_the_same_arrivals_and_more(driven):
    load = PoissonLoad(kind="poisson", request_rate=2.0, num_workflows=10)
    spans = driven(ENDLESS, load, extent(open_=lambda times_s: times_s[-1] >= 12.0), seed=3)
    times_s = gamma_arrivals(2.0, 1.0, 1000, 3)
    enough = next(n for n in range(10, 1000, 10) if times_s[n - 1] >= 12.0)
    assert enough > 10
    assert [span.arrival_s for span in spans] == times_s[:enough]


def test_a_replay_goes_on_in_its_trace(driven):
    load = ReplayLoad(kind="replay", num_workflows=2, speedup=2.0)
    trace = Trace(0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0)
    assert len(driven(trace, load, extent(open_=lambda times_s: times_s[-1] >= 4.0))) == 6
    assert len(driven(trace, load, extent(open_=lambda times_s: False))) == 6
    assert len(driven(trace, load, extent(open_=lambda times_s: True))) == 2


@pytest.fixture
def warmed(run, engine):
    def go(source, load, *, n_workflows=0, duration_s=0.0):
        return run(
            warm_up(
                source,
                load,
                execute=engine.execute,
                clock=engine.clock,
                seed=5,
                n_workflows=n_workflows,
                duration_s=duration_s,
            )
        )

    return go


@pytest.mark.parametrize(("n_workflows", "duration_s", "n"), [(0, 2.5, 6), (5, 0.0, 5), (1, 2.5, 6), (9, 2.5, 9)])
def test_a_warm_up_lasts_until_both_its_count_and_its_time_are_reached(warmed, engine, n_workflows, duration_s, n):
    assert warmed(ENDLESS, CLOSED, n_workflows=n_workflows, duration_s=duration_s) == n
    assert engine.most_running == 2
    assert max(engine.started_s.values()) == (n - 1) // 2


def test_what_warms_up_shares_no_content_with_what_is_measured(warmed, driven, engine):
    warmed(ENDLESS, CLOSED, n_workflows=4)
    warm = {segment.content for request in engine.requests for segment in request.prompt}
    warm |= {request.request_id for request in engine.requests}
    engine.requests.clear()
    driven(ENDLESS, CLOSED, extent())
    measured = {segment.content for request in engine.requests for segment in request.prompt}
    assert len(warm) == 9
    assert len(measured) == 5
    assert not warm & (measured | {request.request_id for request in engine.requests})


def test_an_open_warm_up_keeps_the_pace_of_its_load(warmed, engine):
    engine.duration_s = lambda request: 100.0
    load = PoissonLoad(kind="poisson", request_rate=2.0, num_workflows=1)
    times_s = [t_s for t_s in gamma_arrivals(2.0, 1.0, 100, 5) if t_s < 6.0]
    assert warmed(ENDLESS, load, duration_s=6.0) == len(times_s)
    assert sorted(engine.started_s.values()) == times_s


def test_a_warm_up_on_a_trace_begins_anew_where_it_ends_but_replays_it_once(warmed, engine):
    assert warmed(Trace(0.0, 1.0, 2.0, 3.0), CLOSED, n_workflows=10) == 10
    assert len(engine.by_id) == 10
    assert warmed(Trace(0.0, 1.0, 2.0), ReplayLoad(kind="replay"), duration_s=50.0) == 3
