"""Closed form and step by step give the same results up to rounding."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_cells import a_cell, a_request, answers

requests = st.lists(
    st.tuples(
        st.floats(0, 2.0),  # arrival
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 90)), min_size=1, max_size=3),
        st.integers(1, 200),  # output tokens
        st.integers(-1, 1),  # priority
    ),
    min_size=1,
    max_size=14,
)


limits = st.fixed_dictionaries(
    {
        "max_num_seqs": st.sampled_from([1, 2, 4, 16]),
        "max_num_batched_tokens": st.sampled_from([16, 64, 512]),
        "enable_prefix_caching": st.booleans(),
        "block_size": st.sampled_from([1, 4, 16]),
        "tensor_parallel_size": st.sampled_from([1, 2]),
        "scheduling_policy": st.sampled_from(["fcfs", "priority", "workflow"]),
    }
)


def ranked(request, started_s, priority):
    """Return a request with the fields that all policies order by."""
    ahead = request.output_tokens * (2 + priority)
    return replace(request, priority=priority, workflow_started_s=started_s, remaining_tokens=ahead)


@settings(max_examples=80, deadline=None)
@given(requests, limits, st.sampled_from([None, "30%", "60%"]), st.floats(1.0, 3.0))
def test_closed_form_equals_step_by_step(workload, options, power_limit_w, room):
    arrivals = [
        (at_s, ranked(a_request(f"r{i}", *spans, output_tokens=n), at_s, priority))
        for i, (at_s, spans, n, priority) in enumerate(workload)
    ]
    longest = max(request.prompt_tokens + request.output_tokens for _, request in arrivals)
    n_blocks = int(room * -(-longest // options["block_size"]))
    both = [
        answers(
            a_cell(hardware_changes={"power_limit_w": power_limit_w}, stepping=stepping, **options), arrivals, n_blocks
        )
        for stepping in ("closed_form", "step_by_step")
    ]
    (jumped, runs), (stepped, steps) = both
    for jump, step in zip(jumped, stepped, strict=True):
        assert (jump.output_tokens, jump.cached_tokens, jump.n_preemptions) == (
            step.output_tokens,
            step.cached_tokens,
            step.n_preemptions,
        )
        for name in ("scheduled_s", "first_token_s", "finished_s", "prefill_energy_j", "decode_energy_j"):
            assert getattr(jump, name) == pytest.approx(getattr(step, name), rel=1e-9, abs=1e-12), name
    assert len(runs) <= len(steps) == sum(runs["n_iterations"].to_pylist())
    for name in ("energy_j", "prefill_tokens", "decode_tokens", "continued_tokens"):
        assert sum(runs[name].to_pylist()) == pytest.approx(sum(steps[name].to_pylist()), rel=1e-9), name
    assert max(runs["kv_usage_ratio"].to_pylist()) == max(steps["kv_usage_ratio"].to_pylist())
    attributed_j = sum(c.prefill_energy_j + c.decode_energy_j for c in jumped)
    assert attributed_j == pytest.approx(sum(runs["energy_j"].to_pylist()), rel=1e-12)
    step_ends_s = steps["end_s"].to_numpy()[np.cumsum(runs["n_iterations"].to_numpy()) - 1]
    np.testing.assert_allclose(runs["end_s"].to_numpy(), step_ends_s, rtol=1e-9)


def test_equal_workloads_give_identical_results():
    arrivals = [(i * 0.013, a_request(f"r{i}", ("a", 50), (f"b{i}", 70), output_tokens=40 + i)) for i in range(30)]
    first, second = (answers(a_cell(max_num_seqs=8), arrivals, n_blocks=64) for _ in range(2))
    assert first[0] == second[0]
    assert first[1].equals(second[1])


def test_a_single_long_output_takes_one_run_per_bucket_of_context():
    _, runs = answers(a_cell(), [(0.0, a_request("r", ("a", 100), output_tokens=500))])
    assert len(runs) == 1 + 5
    assert sum(runs["n_iterations"].to_pylist()) == 500
