import asyncio
import statistics
from functools import partial

import numpy as np
import pytest

from workflows.drive import drive
from workflows.execute import execute
from workflows.graph import OutputOf, Step, Unique, Workflow
from workflows.load import ClosedLoad, PoissonLoad, ReplayLoad, gamma_arrivals
from workflows.source import EndlessSource


def one_step(index):
    ask = Step(name="ask", role="chat", prompt=(Unique("question", 5),), output_tokens=index + 1)
    return Workflow(workflow_id=f"w{index}", tenant="lab", steps=(ask,))


class Trace:
    def __init__(self, *arrivals_s):
        self.arrivals_s = arrivals_s

    def workflow(self, index):
        return one_step(index)


ENDLESS = EndlessSource(one_step)


@pytest.fixture
def driven(run, engine):
    def go(source, load, seed=0):
        return run(drive(source, load, execute=engine.execute, clock=engine.clock, seed=seed))

    return go


def test_closed_users_each_start_the_next_when_their_last_has_finished(driven, engine):
    engine.duration_s = lambda request: {"w0": 3.0}.get(request.workflow_id, 1.0)
    spans = driven(ENDLESS, ClosedLoad(kind="closed", users=2, num_workflows=5))
    assert [span.index for span in spans] == [0, 1, 2, 3, 4]
    assert [span.arrival_s for span in spans] == [0.0, 0.0, 1.0, 2.0, 3.0]
    assert [span.finished_s for span in spans] == [3.0, 1.0, 2.0, 3.0, 4.0]
    assert engine.most_running == 2


def test_closed_users_think_between_workflows(driven):
    spans = driven(ENDLESS, ClosedLoad(kind="closed", users=1, num_workflows=3, think_time_s=0.5))
    assert [span.arrival_s for span in spans] == [0.0, 1.5, 3.0]
    assert [span.steps[0].ready_s for span in spans] == [0.0, 1.5, 3.0]


def test_more_users_than_workflows_leave_the_rest_idle(driven, engine):
    spans = driven(ENDLESS, ClosedLoad(kind="closed", users=8, num_workflows=3))
    assert len(spans) == len(engine.requests) == 3


def test_open_arrivals_never_wait_for_completions(driven, engine):
    engine.duration_s = lambda request: 1000.0
    load = PoissonLoad(kind="poisson", request_rate=10.0, num_workflows=50)
    spans = driven(ENDLESS, load, seed=3)
    assert [span.arrival_s for span in spans] == gamma_arrivals(10.0, 1.0, 50, 3)
    assert engine.most_running == 50
    assert [span.steps[0].ready_s for span in spans] == [span.arrival_s for span in spans]


@pytest.mark.parametrize("burstiness", [1.0, 0.25, 4.0])
def test_arrivals_are_seeded_ascending_and_as_bursty_as_asked(burstiness):
    times_s = gamma_arrivals(4.0, burstiness, 20_000, 7)
    gaps_s = [after - before for before, after in zip([0.0, *times_s], times_s, strict=False)]
    assert times_s == gamma_arrivals(4.0, burstiness, 20_000, 7)
    assert times_s != gamma_arrivals(4.0, burstiness, 20_000, 8)
    assert min(gaps_s) >= 0
    assert statistics.mean(gaps_s) == pytest.approx(0.25, rel=0.03)
    assert (statistics.stdev(gaps_s) / statistics.mean(gaps_s)) ** 2 == pytest.approx(1 / burstiness, rel=0.08)


def test_arrivals_without_bursts_are_those_of_a_poisson_process():
    gaps_s = np.random.default_rng(3).exponential(0.1, size=50)
    assert gamma_arrivals(10.0, 1.0, 50, 3) == pytest.approx(np.cumsum(gaps_s).tolist(), rel=1e-12)


def test_a_bursty_load_arrives_in_bursts(driven):
    load = PoissonLoad(kind="poisson", request_rate=10.0, num_workflows=50, burstiness=0.2)
    spans = driven(ENDLESS, load, seed=3)
    assert [span.arrival_s for span in spans] == gamma_arrivals(10.0, 0.2, 50, 3)


def test_replay_keeps_the_recorded_times_and_speeds_them_up(driven):
    spans = driven(Trace(0.0, 2.0, 2.0, 10.0), ReplayLoad(kind="replay", speedup=2.0))
    assert [span.arrival_s for span in spans] == [0.0, 1.0, 1.0, 5.0]
    assert len(driven(Trace(0.0, 2.0, 10.0), ReplayLoad(kind="replay", num_workflows=2))) == 2


def test_replay_of_a_source_without_arrivals_is_refused(driven):
    with pytest.raises(ValueError, match=r"load\.kind=replay needs recorded arrivals; choose a trace workflow"):
        driven(ENDLESS, ReplayLoad(kind="replay"))


def test_a_trace_bounds_every_load(driven):
    with pytest.raises(ValueError, match=r"load\.num_workflows is 3, but the trace holds 2"):
        driven(Trace(0.0, 1.0), ClosedLoad(kind="closed", users=1, num_workflows=3))


@pytest.mark.parametrize(
    "load",
    [
        ClosedLoad(kind="closed", users=4, num_workflows=20),
        PoissonLoad(kind="poisson", request_rate=1e6, num_workflows=20),
    ],
)
def test_one_failed_workflow_cancels_all_others(run, engine, load):
    async def generate(request):
        if request.workflow_id == "w3":
            await asyncio.sleep(0.5)
            raise RuntimeError("engine died")
        return await engine.generate(request)

    with pytest.raises(RuntimeError, match="engine died"):
        run(
            drive(
                ENDLESS,
                load,
                execute=partial(execute, generate=generate, clock=engine.clock),
                clock=engine.clock,
                seed=0,
            )
        )
    assert engine.running == 0
    assert {"w0/ask", "w1/ask", "w2/ask"} <= set(engine.cancelled)


def test_workflows_of_several_steps_run_side_by_side(driven, engine):
    def two_steps(index):
        first = Step(name="first", role="a", prompt=(Unique("q", 1),), output_tokens=2)
        second = Step(name="second", role="b", prompt=(OutputOf("first"),), output_tokens=2)
        return Workflow(workflow_id=f"w{index}", tenant="lab", steps=(first, second))

    spans = driven(EndlessSource(two_steps), ClosedLoad(kind="closed", users=3, num_workflows=3))
    assert [span.finished_s for span in spans] == [2.0, 2.0, 2.0]
    assert [step.step for step in spans[0].steps] == ["first", "second"]
