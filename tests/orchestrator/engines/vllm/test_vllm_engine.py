"""vLLM on the CPU; most tests share one engine."""

import asyncio
import gc
import math
import os
import signal
import time

import psutil
import pytest
from vllm_cells import a_cell, a_request

from orchestrator.engines.vllm import build
from orchestrator.errors import CellError, InfrastructureError
from workflows.clock import MonotonicClock

pytest.importorskip("vllm")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of vLLM's own imports
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def runs(pid):
    """Return whether a process runs; a zombie has ended but is not yet reaped."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


CELL = a_cell(max_num_batched_tokens=128, scheduling_policy="workflow")


class Started:
    """An engine and its event loop."""

    def __init__(self, cell):
        self.cell = cell
        self.runner = asyncio.Runner()
        self.engine = build(cell, MonotonicClock())
        self.origin_s = 0.0

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def begin(self):
        self.origin_s = time.monotonic()
        self.run(self.engine.begin(self.cell, self.origin_s))

    def answers(self, *requests):
        async def all_of_them():
            return await asyncio.gather(*(self.engine.generate(request) for request in requests))

        return self.run(all_of_them())

    def series(self):
        return {name: table.to_pylist() for name, table in self.run(self.engine.series()).items()}

    def close(self):
        self.run(self.engine.close())
        self.runner.close()


@pytest.fixture(autouse=True)
def nothing_is_collected_later():
    """Collect what vLLM leaves unclosed after a failure, because its warnings are ignored in this module."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def loaded():
    started = Started(CELL)
    try:
        started.start = started.run(started.engine.start())
        yield started
    finally:
        started.close()
    assert not any(runs(pid) for pid in started.start.pids)


@pytest.fixture
def engine(loaded):
    loaded.begin()
    return loaded


def test_the_start_reports_provenance_and_processes(engine):
    provenance = engine.start.provenance
    assert (provenance["device"], provenance["weights"]) == ("cpu", "random, in the shape of the model")
    assert (provenance["vllm_scheduler"], provenance["enforce_eager"]) == ("RecordingScheduler", "True")
    assert int(provenance["kv_cache_tokens"]) > CELL.model.max_model_len
    assert {"vllm", "torch", "vllm_executor"} <= set(provenance)
    assert engine.start.devices == ()
    assert all(runs(pid) for pid in engine.start.pids)
    assert engine.engine.trouble() is None


def test_a_completion_has_the_requested_length_and_a_time_for_every_token(engine):
    before, progress = time.monotonic(), engine.engine.progress()
    (answer,) = engine.answers(a_request("a", n_prompt=40, n_output=12))
    assert (answer.output_tokens, len(answer.token_ids), len(answer.token_times_s)) == (12, 12, 12)
    assert all(0 <= token < CELL.model.vocab_size for token in answer.token_ids)
    times_s = (before, answer.submitted_s, answer.scheduled_s, *answer.token_times_s, time.monotonic())
    assert list(times_s) == sorted(times_s)
    assert (answer.first_token_s, answer.finished_s) == (answer.token_times_s[0], answer.token_times_s[-1])
    assert (answer.cached_tokens, answer.n_preemptions) == (0, 0)
    assert engine.engine.progress() == progress + 12


def test_equal_prompts_have_equal_completions(engine):
    first, second = engine.answers(a_request("same"), a_request("same"))[0], engine.answers(a_request("same"))[0]
    assert first.token_ids == second.token_ids


def test_a_shared_prefix_is_cached_until_the_next_cell(engine):
    engine.answers(a_request("a", shared=320))
    (hit,) = engine.answers(a_request("b", shared=320))
    assert hit.cached_tokens == 320
    engine.begin()
    (miss,) = engine.answers(a_request("c", shared=320))
    assert miss.cached_tokens == 0


def test_iterations_hold_exactly_what_was_computed(engine):
    requests = [a_request(f"r-{index}", n_prompt=100 + index, n_output=5 + index, shared=64) for index in range(12)]
    answers = engine.answers(*requests)
    series = engine.series()
    iterations, scheduled = series["iterations"], series["scheduled"]
    computed = sum(r.prompt_tokens - a.cached_tokens for r, a in zip(requests, answers, strict=True))
    sampled = sum(answer.output_tokens for answer in answers)
    for rows in (iterations, scheduled):
        assert sum(row["prefill_tokens"] for row in rows) == computed
        assert sum(row["decode_tokens"] for row in rows) == sampled
    assert sum(row["continued_tokens"] for row in iterations) == sampled - len(answers)
    assert {row["request_id"] for row in scheduled} == {request.request_id for request in requests}
    assert max(row["n_running"] for row in iterations) == CELL.engine.max_num_seqs
    assert max(row["n_waiting"] for row in iterations) >= 12 - CELL.engine.max_num_seqs
    assert all(row["prefill_tokens"] + row["n_running"] <= 128 + row["n_running"] for row in iterations)
    assert 0 < max(row["kv_usage_ratio"] for row in iterations) < 1
    edges_s = [edge for row in iterations for edge in (row["start_s"], row["end_s"])]
    assert edges_s == sorted(edges_s)
    assert edges_s[0] >= 0


def test_the_records_of_the_scheduler_agree_with_the_completions(engine):
    requests = [a_request(f"r-{index}", n_prompt=200, n_output=6) for index in range(3)]
    answers = engine.answers(*requests)
    series = engine.series()
    for answer in answers:
        rows = [row for row in series["scheduled"] if row["request_id"] == answer.request_id]
        first, sampling = rows[0]["iteration"], [row["iteration"] for row in rows if row["decode_tokens"]]
        starts_s = [row["start_s"] + engine.origin_s for row in series["iterations"]]
        ends_s = [row["end_s"] + engine.origin_s for row in series["iterations"]]
        assert answer.scheduled_s == pytest.approx(starts_s[first], abs=1e-6)
        assert len(sampling) == len(answer.token_times_s)
        for iteration, arrived_s in zip(sampling, answer.token_times_s, strict=True):
            assert ends_s[iteration] <= arrived_s


def test_the_request_due_first_is_admitted_first(engine):
    n_seqs = CELL.engine.max_num_seqs
    running = [a_request(f"running-{index}", n_output=40) for index in range(n_seqs)]
    now_s = time.monotonic()
    late = [a_request(f"late-{i}", n_output=30, workflow_started_s=now_s, remaining_tokens=5000) for i in range(n_seqs)]
    soon = [a_request(f"soon-{i}", n_output=30, workflow_started_s=now_s, remaining_tokens=10) for i in range(n_seqs)]
    answers = {answer.request_id: answer for answer in engine.answers(*running, *late, *soon)}
    last_soon_s = max(answers[request.request_id].scheduled_s for request in soon)
    assert last_soon_s <= min(answers[request.request_id].scheduled_s for request in late)


def test_a_request_longer_than_the_context_is_a_cell_error(engine):
    with pytest.raises(CellError, match="max_model_len 16384"):
        engine.answers(a_request("long", n_prompt=16380))


def test_a_cancelled_request_leaves_no_trace_in_the_next_cell(engine):
    async def given_up():
        task = asyncio.create_task(engine.engine.generate(a_request("gone", n_output=5000)))
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    engine.run(given_up())
    engine.begin()
    engine.answers(a_request("next", n_output=3))
    series = engine.series()
    assert {row["request_id"] for row in series["scheduled"]} == {"next"}
    assert {row["n_running"] for row in series["iterations"]} == {1}


def cores():
    named = [child for child in psutil.Process().children(recursive=True) if child.name().startswith("VLLM")]
    return [child.pid for child in named if runs(child.pid)]


def start_fails(cell):
    started, before = Started(cell), cores()
    try:
        with pytest.raises((CellError, InfrastructureError)) as refused:
            started.run(started.engine.start())
    finally:
        started.close()
    assert cores() == before
    assert "\n" not in str(refused.value)
    return refused.value


def test_an_unknown_argument_is_refused_with_the_message_of_vllm():
    error = start_fails(a_cell(no_such_argument=1))
    assert isinstance(error, CellError)
    assert "unexpected keyword argument 'no_such_argument'" in str(error)


def test_an_invalid_value_is_refused_with_the_valid_ones():
    error = start_fails(a_cell(kv_cache_dtype="nonsense"))
    assert isinstance(error, CellError)
    assert "cache_dtype" in str(error)
    assert "'fp8'" in str(error)


@pytest.mark.exhaustive
def test_a_cache_larger_than_the_memory_is_a_cell_error_with_the_message_of_the_worker():
    error = start_fails(a_cell(kv_cache_memory_bytes=2**45))
    assert isinstance(error, CellError)
    assert "requested memory for kv (32768.0 GiB)" in str(error)


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_core_is_reported_and_no_process_is_left(number):
    started = Started(a_cell())
    pids = started.run(started.engine.start()).pids

    async def lose():
        await started.engine.begin(started.cell, time.monotonic())
        task = asyncio.create_task(started.engine.generate(a_request("a", n_output=10_000)))
        await asyncio.sleep(0.3)
        os.kill(pids[0], number)
        while started.engine.trouble() is None:  # noqa: ASYNC110 - the test polls it
            await asyncio.sleep(0.01)
        done, _ = await asyncio.wait({task}, timeout=5 if number == signal.SIGKILL else 0)
        task.cancel()
        return started.engine.trouble(), [ended.exception() for ended in done]

    try:
        trouble, errors = started.run(lose())
    finally:
        started.close()
    how = "was killed by SIGKILL" if number == signal.SIGKILL else "is stopped"
    assert trouble == f"vLLM's engine core (process {pids[0]}) {how}"
    assert [str(error) for error in errors] == ([trouble] if number == signal.SIGKILL else [])
    assert all(isinstance(error, InfrastructureError) for error in errors)
    assert not any(runs(pid) for pid in pids)


def test_vllm_accepts_every_preset():
    """Build the configuration without weights."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    from orchestrator.engines.vllm.arguments import engine_arguments, set_environment

    names = ("gemma3_12b", "gemma3_27b", "llama3_1_8b", "mistral_7b", "mixtral_8x7b", "qwen3_8b", "qwen3_30b_a3b")
    for name in names:
        cell = a_cell(model=name, max_model_len=4096)
        set_environment(cell)
        config = AsyncEngineArgs(**engine_arguments(cell)).create_engine_config().model_config
        assert config.architectures == [cell.model.architecture_name]
        assert config.get_num_kv_heads(config_parallel := _one_gpu()) == cell.model.num_key_value_heads
        assert config.get_num_layers(config_parallel) == cell.model.num_hidden_layers
        assert config.get_head_size() == cell.model.head_dim
        assert math.isclose(config.get_hidden_size(), cell.model.hidden_size)


def _one_gpu():
    from vllm.config import ParallelConfig

    return ParallelConfig()
