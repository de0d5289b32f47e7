import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_cells import costs

from orchestrator.engines.simulated.log import Run
from orchestrator.engines.simulated.scheduler import Step


def a_run(n_decoding=8, n_iterations=128, start_s=3.7):
    context = 1000 * n_decoding
    step = Step(chunks=(), n_decoding=n_decoding, n_waiting=0, preempted=False)
    cost = costs().decode_cost(n_decoding, context)
    return Run(start_s=start_s, step=step, cost=cost, n_iterations=n_iterations, context_tokens=context)


@pytest.mark.parametrize("iteration", [1, 2, 77, 127])
def test_a_request_exactly_at_the_end_of_an_iteration_is_in_the_next(iteration):
    run = a_run()
    now_s = run.end_of(iteration)
    assert run.cut(now_s)
    assert (run.n_iterations, run.end_s) == (iteration, now_s)


@settings(deadline=None)
@given(st.floats(0, 0.999), st.sampled_from([1, 8, 200]), st.sampled_from([0.0, 1e6]))
def test_a_cut_run_ends_with_the_iteration_in_flight(share, n_decoding, start_s):
    run = a_run(n_decoding, start_s=start_s)
    now_s = start_s + share * (run.end_s - start_s)
    run.cut(now_s)
    assert run.end_s >= now_s
    assert run.n_iterations == 1 or run.end_of(run.n_iterations - 1) < now_s


def test_cuts_in_the_last_iteration_and_at_the_first_instant():
    run = a_run()
    assert not run.cut((run.end_of(127) + run.end_of(128)) / 2)
    assert run.cut(run.start_s)
    assert run.n_iterations == 1


def test_each_iteration_is_longer_than_the_last_by_one_read_a_sequence():
    run = a_run()
    lengths_s = [run.end_of(n + 1) - run.end_of(n) for n in range(128)]
    assert lengths_s[0] == pytest.approx(run.cost.time_s(8000))
    assert lengths_s[-1] - lengths_s[0] == pytest.approx(127 * 8 * run.cost.context_s, rel=1e-6)
