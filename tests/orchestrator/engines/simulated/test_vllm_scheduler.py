"""The scheduler against vLLM's own algorithm, iteration by iteration."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_cells import a_request
from vllm_reference import ReferenceCache, ReferenceRequest, ReferenceScheduler

from orchestrator.engines.simulated import Options
from orchestrator.engines.simulated.kv_cache import KvCache
from orchestrator.engines.simulated.scheduler import Scheduler
from orchestrator.engines.simulated.sequence import Sequence


def a_scheduler(n_blocks=1000, **options):
    options = Options(
        **{"kind": "simulated", "max_num_seqs": 8, "max_num_batched_tokens": 64, "block_size": 4, **options}
    )
    return Scheduler(options, KvCache(n_blocks, options.block_size, prefix_caching=options.enable_prefix_caching))


@pytest.fixture(scope="module")
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def scheduled_tokens(scheduler):
    """Run the next iteration and return the tokens of each request in it."""
    step = scheduler.schedule()
    tokens = {sequence.request_id: 1 for sequence in scheduler.decoding._members}
    tokens |= {chunk.sequence.request_id: chunk.n_tokens for chunk in step.chunks}
    assert step.n_decoding + len(step.chunks) == len(tokens)
    scheduler.free(scheduler.complete(step, 1))
    return tokens


workloads = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 20)), min_size=1, max_size=3),
        st.integers(1, 30),
        st.integers(-2, 2),  # priority
    ),
    min_size=1,
    max_size=10,
)


def due(priority):
    """Return fields that give a request the same rank under the policies workflow and priority."""
    return {"workflow_started_s": 10.0, "remaining_tokens": 100 + priority}


@settings(max_examples=300, deadline=None)
@given(
    workloads,
    st.sampled_from([1, 3, 8]),
    st.sampled_from([8, 24, 200]),
    st.sampled_from([1, 4]),
    st.booleans(),
    st.booleans(),
    st.floats(1.0, 2.5),
    st.sampled_from(["fcfs", "priority", "workflow"]),
)
def test_every_iteration_is_the_one_vllm_schedules(
    loop, workload, max_num_seqs, budget, block_size, caching, chunked, room, policy
):
    workload = sorted(workload, key=lambda item: item[0])
    if not chunked:
        budget = max(budget, *(sum(n for _, n in spans) for _, spans, _, _ in workload), 1)
    longest = max(sum(n for _, n in spans) + n_output for _, spans, n_output, _ in workload)
    n_blocks = int(room * -(-longest // block_size))
    scheduler = a_scheduler(
        n_blocks,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=budget,
        block_size=block_size,
        enable_prefix_caching=caching,
        enable_chunked_prefill=chunked,
        scheduling_policy=policy,
    )
    reference = ReferenceScheduler(
        ReferenceCache(n_blocks, block_size, prefix_caching=caching),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=budget,
        chunked=chunked,
        by_rank=policy != "fcfs",
    )
    sequences, references = [], []
    for iteration in range(2000):
        while workload and workload[0][0] <= iteration:
            _, spans, n_output, priority = workload.pop(0)
            name = f"r{len(sequences)}"
            request = replace(a_request(name, *spans, output_tokens=n_output), priority=priority, **due(priority))
            sequences.append(Sequence(request, block_size, 0.0, loop.create_future()))
            tokens = [(c, i) for c, n in spans for i in range(n)]
            references.append(ReferenceRequest(name, tokens, n_output, rank=(priority, len(references))))
            scheduler.queue.add(sequences[-1])
            reference.waiting.append(references[-1])
        assert scheduled_tokens(scheduler) == (reference.schedule() or reference.schedule())
        assert scheduler.cache.n_free == len(reference.cache.free)
        if not (workload or scheduler.has_work):
            break
    assert not scheduler.has_work
    assert [(s.cached_tokens, s.n_preemptions) for s in sequences] == [(s.cached, s.n_preemptions) for s in references]
    assert scheduler.cache.n_free == n_blocks


def queued(scheduler, loop, name, *spans, output_tokens=5):
    sequence = Sequence(a_request(name, *spans, output_tokens=output_tokens), 4, 0.0, loop.create_future())
    scheduler.queue.add(sequence)
    return sequence


def test_a_long_prompt_is_cut_to_the_budget_and_shares_its_last_iteration(loop):
    scheduler = a_scheduler()
    queued(scheduler, loop, "long", ("a", 100))
    queued(scheduler, loop, "short", ("b", 10))
    assert scheduled_tokens(scheduler) == {"long": 64}
    assert scheduled_tokens(scheduler) == {"long": 36, "short": 10}
    assert scheduled_tokens(scheduler) == {"long": 1, "short": 1}


def test_without_chunked_prefill_a_prompt_waits_until_it_fits_whole(loop):
    scheduler = a_scheduler(enable_chunked_prefill=False)
    queued(scheduler, loop, "first", ("a", 40))
    queued(scheduler, loop, "second", ("b", 30))
    assert scheduled_tokens(scheduler) == {"first": 40}
    assert scheduled_tokens(scheduler) == {"first": 1, "second": 30}


def test_a_request_admitted_later_in_a_step_hits_the_blocks_of_an_earlier_one(loop):
    scheduler = a_scheduler()
    queued(scheduler, loop, "first", ("system", 20), ("x", 3))
    second = queued(scheduler, loop, "second", ("system", 20), ("y", 3))
    assert scheduled_tokens(scheduler) == {"first": 23, "second": 3}
    assert second.cached_tokens == 20


def test_the_last_admitted_is_preempted_when_blocks_run_out_and_computed_again(loop):
    scheduler = a_scheduler(n_blocks=8, enable_prefix_caching=False)
    first = queued(scheduler, loop, "first", ("a", 12), output_tokens=12)
    second = queued(scheduler, loop, "second", ("b", 12), output_tokens=12)
    trace = []
    while scheduler.has_work:
        trace.append(scheduled_tokens(scheduler))
    assert (first.n_preemptions, second.n_preemptions) == (0, 1)
    assert trace == (
        [{"first": 12, "second": 12}]
        + [{"first": 1, "second": 1}] * 4
        + [{"first": 1}] * 7
        + [{"second": 17}]  # its prompt and the five tokens it had
        + [{"second": 1}] * 6
    )


def test_a_long_prompt_is_admitted_only_when_all_its_chunks_fit(loop):
    """Otherwise it would start, run out of blocks, be preempted and start again."""
    scheduler = a_scheduler(n_blocks=30, enable_prefix_caching=False)
    queued(scheduler, loop, "first", ("a", 40), output_tokens=3)
    queued(scheduler, loop, "long", ("b", 100), output_tokens=3)
    assert [scheduled_tokens(scheduler) for _ in range(4)] == [{"first": 40}, {"first": 1}, {"first": 1}, {"long": 64}]
