"""Which request is admitted next and which is preempted, under each policy."""

import asyncio
from dataclasses import replace

import pytest
from simulated_cells import a_cell, a_request, answers

from orchestrator.engines.simulated.sequence import Sequence
from orchestrator.engines.simulated.waiting import FirstComeFirstServed, Ranked, waiting_queue


@pytest.fixture(scope="module")
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def sequences(loop, *priorities):
    requests = [replace(a_request(f"r{n}", ("a", 5)), priority=p) for n, p in enumerate(priorities)]
    return [Sequence(request, 4, 0.0, loop.create_future()) for request in requests]


def drained(queue):
    names = []
    while queue:
        names.append(queue.head.request_id)
        queue.remove(queue.head)
    return names


def test_the_lowest_priority_value_goes_first_and_ties_by_arrival(loop):
    queue = waiting_queue("priority")
    for sequence in sequences(loop, 2, 0, 1, 0, -1):
        queue.add(sequence)
    assert drained(queue) == ["r4", "r1", "r3", "r2", "r0"]


def test_a_preempted_request_keeps_the_place_of_its_arrival_or_goes_first_under_fcfs(loop):
    first, second, third = sequences(loop, 0, 0, 0)
    for queue, expected in ((Ranked(lambda r: r.priority), ["r0", "r1", "r2"]), (FirstComeFirstServed(), None)):
        for sequence in (first, second, third):
            queue.add(sequence)
        queue.remove(second)
        queue.put_back(second)
        assert drained(queue) == (expected or ["r1", "r0", "r2"])


def test_the_latest_of_the_highest_priority_value_is_preempted(loop):
    queue = waiting_queue("priority")
    running = sequences(loop, 1, 3, 3, 0)
    for sequence in running:
        queue.add(sequence)
    assert queue.victim(dict.fromkeys(running)).request_id == "r2"
    assert FirstComeFirstServed().victim(dict.fromkeys(running)).request_id == "r3"


def test_a_request_in_the_middle_of_the_heap_can_be_removed(loop):
    queue = waiting_queue("priority")
    waiting = sequences(loop, *range(8))
    for sequence in reversed(waiting):
        queue.add(sequence)
    queue.remove(waiting[3])
    assert drained(queue) == ["r0", "r1", "r2", "r4", "r5", "r6", "r7"]


@pytest.mark.parametrize(("policy", "first"), [("fcfs", "early"), ("priority", "urgent"), ("workflow", "short")])
def test_the_engine_admits_by_the_policy_it_is_given(policy, first):
    early = replace(a_request("early", ("a", 10)), remaining_tokens=900, priority=1)
    urgent = replace(a_request("urgent", ("b", 10)), remaining_tokens=800)
    short = replace(a_request("short", ("c", 10)), remaining_tokens=5, priority=1)
    arrivals = [(0.0, a_request("running", ("d", 10), output_tokens=200))]
    arrivals += [(0.1 * n, request) for n, request in enumerate((early, urgent, short), start=1)]
    completions, _ = answers(a_cell(max_num_seqs=1, scheduling_policy=policy), arrivals)
    waited = sorted(completions[1:], key=lambda completion: completion.scheduled_s)
    assert waited[0].request_id == first


def test_a_request_that_preempts_itself_pauses_those_after_it_for_one_iteration():
    """vLLM does the same: its loop over the running requests ends there."""
    low = replace(a_request("low", ("a", 12), output_tokens=12), priority=5)
    high = replace(a_request("high", ("b", 12), output_tokens=12), priority=0)
    options = {"block_size": 4, "max_num_seqs": 4, "enable_prefix_caching": False, "scheduling_policy": "priority"}
    (first, second), runs = answers(a_cell(**options), [(0.0, low), (0.0, high)], n_blocks=8)
    assert (first.n_preemptions, second.n_preemptions) == (1, 0)
    assert second.finished_s < first.finished_s
    assert sum(runs["decode_tokens"].to_pylist()) == 24
