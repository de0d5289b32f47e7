"""The recording schedulers without an engine: the test samples the tokens in place of a model."""

from collections import deque
from types import SimpleNamespace

import pytest
from vllm_cells import a_cell

from orchestrator.engines.vllm.arguments import engine_arguments
from orchestrator.engines.vllm.iteration_log import IterationFile
from orchestrator.engines.vllm.recorder import FILE_VARIABLE

pytest.importorskip("vllm")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of vLLM's own imports
]


BLOCK_SIZE = 32


class Scheduled:
    """A recording scheduler with its KV cache."""

    def __init__(self, file, *, asynchronous, n_blocks):
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.structured_output import StructuredOutputManager

        from orchestrator.engines.vllm import scheduler

        cell = a_cell(max_model_len=256, max_num_batched_tokens=64, enable_prefix_caching=False)
        config = EngineArgs(**engine_arguments(cell)).create_engine_config()
        config.scheduler_config.async_scheduling = asynchronous  # as on GPUs, where it is the default
        config.cache_config.num_gpu_blocks = n_blocks
        self.name = scheduler.RECORDING_CLASSES[config.scheduler_config.get_scheduler_cls()]
        self.scheduler = getattr(scheduler, self.name)(
            vllm_config=config,
            kv_cache_config=_cache(n_blocks),
            structured_output_manager=StructuredOutputManager(config),
            block_size=BLOCK_SIZE,
            hash_block_size=BLOCK_SIZE,
        )
        self.file = file

    def add(self, name, n_prompt, n_output):
        from vllm import SamplingParams
        from vllm.v1.request import Request

        parameters = SamplingParams(max_tokens=n_output, ignore_eos=True)
        request = Request(name, list(range(n_prompt)), parameters, None)
        self.scheduler.add_request(request)
        return request

    def sample(self, planned):
        """Sample one token for each request whose prompt is complete."""
        from vllm.v1.outputs import ModelRunnerOutput

        names = list(planned.num_scheduled_tokens)
        done = [name not in planned.prefilling for name in names]
        self.scheduler.update_from_output(
            planned.output,
            ModelRunnerOutput(
                req_ids=names,
                req_id_to_index={name: index for index, name in enumerate(names)},
                sampled_token_ids=[[7] if ends else [] for ends in done],
            ),
        )

    def plan(self):
        output = self.scheduler.schedule()
        tokens = output.num_scheduled_tokens
        prefilling = {name for name in tokens if self.scheduler.requests[name].is_prefill_chunk}
        return SimpleNamespace(output=output, num_scheduled_tokens=dict(tokens), prefilling=prefilling)

    def rows(self):
        return list(zip(*self.file.series(0.0)["scheduled"].to_pydict().values(), strict=True))


def _cache(n_blocks):
    import torch
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec

    layer = FullAttentionSpec(block_size=BLOCK_SIZE, num_kv_heads=1, head_size=1, dtype=torch.float32)
    return KVCacheConfig(num_blocks=n_blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], layer)])


@pytest.fixture
def scheduled(tmp_path, monkeypatch):
    def made(*, asynchronous, n_blocks=100):
        file = IterationFile(tmp_path / "iterations.bin")
        file.clear()
        monkeypatch.setenv(FILE_VARIABLE, str(file.path))
        return Scheduled(file, asynchronous=asynchronous, n_blocks=n_blocks)

    return made


EXPECTED = [
    (0, "a", 40, 1, 0),
    (0, "b", 24, 0, 0),
    (1, "a", 0, 1, 40),
    (1, "b", 6, 1, 24),
    (2, "a", 0, 1, 41),
    (2, "b", 0, 1, 30),
]


def test_overlapping_iterations_are_recorded(scheduled):
    run = scheduled(asynchronous=True)
    assert run.name == "RecordingAsyncScheduler"
    run.add("a", 40, 3)
    run.add("b", 30, 2)
    first = run.plan()
    second = run.plan()  # before a token of the first is known
    assert run.rows() == []
    run.sample(first)
    third = run.plan()
    run.sample(second)
    run.sample(third)
    assert run.rows() == EXPECTED
    rows = run.file.series(0.0)["iterations"].to_pydict()
    assert rows["start_s"][1:] == rows["end_s"][:-1]
    assert (rows["decode_tokens"], rows["continued_tokens"]) == ([1, 2, 2], [0, 1, 2])
    assert not run.scheduler.has_unfinished_requests()


def test_sequential_iterations_have_the_same_content(scheduled):
    run = scheduled(asynchronous=False)
    assert run.name == "RecordingScheduler"
    run.add("a", 40, 3)
    run.add("b", 30, 2)
    while run.scheduler.has_unfinished_requests():
        run.sample(run.plan())
    assert run.rows() == EXPECTED


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_preempted_request_is_recorded_as_computed_again(scheduled, asynchronous):
    run = scheduled(asynchronous=asynchronous, n_blocks=5)  # one of them is never used
    requests = [run.add("a", 40, 40), run.add("b", 30, 40)]
    in_flight = deque()
    while run.scheduler.has_unfinished_requests():
        in_flight.append(run.plan())
        if len(in_flight) > asynchronous:
            run.sample(in_flight.popleft())
    assert [request.num_preemptions for request in requests] == [0, 1]
    assert [run.file.admission(name).n_preemptions for name in "ab"] == [0, 1]
    rows = {name: [row[2:] for row in run.rows() if row[1] == name] for name in "ab"}
    assert [sum(decoded for _, decoded, _ in rows[name]) for name in "ab"] == [40, 40]
    assert sum(prefill for prefill, _, _ in rows["a"]) == 40
    again = next(index for index, row in enumerate(rows["b"]) if index and row[2] == 0)
    n_before = sum(decoded for _, decoded, _ in rows["b"][:again])
    assert sum(prefill for prefill, _, _ in rows["b"]) == 30 + (30 + n_before)
    assert rows["b"][again][0] > 0
