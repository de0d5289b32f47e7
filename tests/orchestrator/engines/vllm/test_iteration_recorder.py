"""Iteration records, written by a recorder and read back as series."""

from dataclasses import dataclass

import pytest

from orchestrator.engines.vllm.iteration_log import IterationFile
from orchestrator.engines.vllm.recorder import Recorder
from orchestrator.records.series import ITERATIONS, SCHEDULED


@dataclass
class FakeRequest:
    """The fields of vLLM's request after its tokens were scheduled."""

    n_prompt: int
    num_computed_tokens: int = 0
    num_preemptions: int = 0
    is_prefill_chunk: bool = True

    def schedule(self, n_tokens: int, n_known: int) -> None:
        self.num_computed_tokens += n_tokens
        self.is_prefill_chunk = self.num_computed_tokens < n_known


class FakeScheduler:
    """Passes the iterations of a test to a recorder."""

    def __init__(self, path):
        self.recorder = Recorder(str(path))
        self.requests = {}
        self.key = 0
        self.now_ns = 1_000_000_000

    def add(self, name, n_prompt, cached=0):
        self.requests[name] = FakeRequest(n_prompt, num_computed_tokens=cached)

    def plan(self, tokens, *, known=None, waiting=0, usage=0.5, finished=(), start_ns=0):
        for name, n_tokens in tokens.items():
            request = self.requests[name]
            request.schedule(n_tokens, (known or {}).get(name, request.n_prompt))
        self.key += 1
        self.recorder.scheduled(
            self.key,
            start_ns=start_ns,
            tokens=tokens,
            requests=self.requests,
            state=(waiting, usage),
            finished=finished,
        )
        return self.key

    def step(self, tokens, sampled, **more):
        self.recorder.finished(self.plan(tokens, **more), sampled.items())


@pytest.fixture
def file(tmp_path):
    file = IterationFile(tmp_path / "iterations.bin")
    file.clear()
    return file


@pytest.fixture
def scheduler(file):
    return FakeScheduler(file.path)


def scheduled(file):
    columns = file.series(0.0)["scheduled"].to_pydict()
    return list(zip(*columns.values(), strict=True))


def test_a_prompt_in_chunks_then_its_tokens(scheduler, file):
    scheduler.add("w-0/a-0123abcd", n_prompt=100, cached=32)
    scheduler.step({"w-0/a-0123abcd": 50}, {}, waiting=3, usage=0.25)
    scheduler.step({"w-0/a-0123abcd": 18}, {"w-0/a-0123abcd": 1})
    scheduler.step({"w-0/a-0123abcd": 1}, {"w-0/a-0123abcd": 1})
    assert scheduled(file) == [
        (0, "w-0/a", 50, 0, 32),
        (1, "w-0/a", 18, 1, 82),
        (2, "w-0/a", 0, 1, 100),
    ]
    rows = file.series(0.0)["iterations"].to_pydict()
    assert (rows["prefill_tokens"], rows["decode_tokens"], rows["continued_tokens"]) == (
        [50, 18, 0],
        [0, 1, 1],
        [0, 0, 1],
    )
    assert (rows["n_waiting"][0], rows["kv_usage_ratio"][0], rows["n_iterations"]) == (3, 0.25, [1, 1, 1])
    assert rows["energy_j"] == [None] * 3
    assert all(cost_s > 0 for cost_s in rows["record_cost_s"])


def test_recomputed_tokens_of_a_preempted_request_count_as_prompt(scheduler, file):
    scheduler.add("a", n_prompt=10)
    scheduler.add("b", n_prompt=10)
    scheduler.step({"a": 10, "b": 10}, {"a": 1, "b": 1})
    scheduler.step({"a": 1}, {"a": 1})
    lost = scheduler.requests["b"]
    lost.num_preemptions, lost.num_computed_tokens = 1, 0
    assert file.admission("b").n_preemptions == 0
    scheduler.step({"a": 1, "b": 11}, {"a": 1, "b": 1}, known={"b": 11})
    scheduler.step({"b": 1}, {"b": 1}, known={"b": 12})
    assert [row for row in scheduled(file) if row[1] == "b"] == [
        (0, "b", 10, 1, 0),
        (2, "b", 11, 1, 0),
        (3, "b", 0, 1, 11),
    ]
    assert file.series(0.0)["iterations"]["continued_tokens"].to_pylist() == [0, 1, 2, 1]
    assert (file.admission("a").n_preemptions, file.admission("b").n_preemptions) == (0, 1)


def test_speculative_decoding_counts_the_accepted_tokens(scheduler, file):
    scheduler.add("a", n_prompt=10)
    scheduler.step({"a": 10}, {"a": 1})
    scheduler.step({"a": 4}, {"a": 3})
    assert scheduled(file)[-1] == (1, "a", 0, 3, 10)


def test_an_iteration_planned_ahead_starts_when_the_one_before_ends(scheduler, file):
    scheduler.add("a", n_prompt=4)
    scheduler.add("b", n_prompt=4)
    first = scheduler.plan({"a": 4}, start_ns=5_000)
    second = scheduler.plan({"b": 4}, start_ns=6_000)
    scheduler.recorder.finished(first, [("a", 1)])
    scheduler.recorder.finished(second, [("b", 1)])
    rows = file.series(0.0)["iterations"].to_pydict()
    assert rows["start_s"] == [5e-6, rows["end_s"][0]]
    assert rows["end_s"][1] >= rows["end_s"][0]
    assert file.admission("b").scheduled_s == rows["end_s"][0]


def test_an_iteration_without_tokens_is_not_recorded(scheduler, file):
    scheduler.step({}, {})
    assert file.series(0.0)["iterations"].num_rows == 0


def test_times_are_relative_to_the_cell_and_earlier_iterations_are_left_out(scheduler, file):
    scheduler.add("a", n_prompt=4)
    scheduler.step({"a": 4}, {"a": 1}, start_ns=1_000_000_000)
    scheduler.step({"a": 1}, {"a": 1}, start_ns=10**18)
    series = file.series(5.0)
    assert series["iterations"]["start_s"].to_pylist() == [pytest.approx(10**9 - 5.0)]
    assert series["scheduled"]["context_tokens"].to_pylist() == [4]


def test_a_recorder_continues_in_a_cleared_file(scheduler, file):
    scheduler.add("old", n_prompt=4)
    scheduler.step({"old": 4}, {"old": 1})
    file.clear()
    scheduler.add("new", n_prompt=5)
    scheduler.step({"new": 5}, {"new": 1}, finished=["old"])
    assert scheduled(file) == [(0, "new", 5, 1, 0)]
    assert file.admission("old") is None
    assert file.admission("new") is not None


def test_an_id_may_be_used_again_in_the_next_cell(scheduler, file):
    for _ in range(2):
        scheduler.add("a", n_prompt=4)
        scheduler.step({"a": 4}, {"a": 1}, finished=["a"])
        assert scheduled(file) == [(0, "a", 4, 1, 0)]
        file.clear()


def test_an_incomplete_record_is_read_once_it_is_complete(scheduler, file):
    scheduler.add("a", n_prompt=4)
    scheduler.step({"a": 4}, {"a": 1})
    whole = file.path.read_bytes()
    scheduler.add("b", n_prompt=4)
    scheduler.step({"b": 4}, {"b": 1})
    both = file.path.read_bytes()
    file.path.write_bytes(both[: len(whole) + 20])
    assert file.admission("b") is None
    assert len(scheduled(file)) == 1
    file.path.write_bytes(both)
    assert file.admission("b") is not None
    assert len(scheduled(file)) == 2


def test_an_empty_file_gives_empty_series_with_their_schemas(file):
    series = file.series(0.0)
    assert (series["iterations"].schema, series["scheduled"].schema) == (ITERATIONS, SCHEDULED)
