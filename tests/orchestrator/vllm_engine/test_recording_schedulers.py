"""vLLM's own schedulers, recording: without an engine, a test samples the tokens in the place of a model."""

from types import SimpleNamespace

import pytest
from vllm_cells import a_cell

from orchestrator.vllm_engine.arguments import engine_arguments
from orchestrator.vllm_engine.iteration_file import IterationFile
from orchestrator.vllm_engine.recorder import FILE_VARIABLE

pytest.importorskip("vllm")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of vLLM's own imports
]

BLOCK_SIZE = 32


class Scheduled:
    """A recording scheduler over a cache of its own."""

    def __init__(self, file, *, asynchronous):
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.structured_output import StructuredOutputManager

        from orchestrator.vllm_engine import scheduler

        cell = a_cell(max_model_len=256, max_num_batched_tokens=64, enable_prefix_caching=False)
        config = EngineArgs(**engine_arguments(cell)).create_engine_config()
        config.scheduler_config.async_scheduling = asynchronous  # as on GPUs, where it is the default
        config.cache_config.num_gpu_blocks = 100
        self.name = scheduler.OF_VLLM[config.scheduler_config.get_scheduler_cls()]
        self.scheduler = getattr(scheduler, self.name)(
            vllm_config=config,
            kv_cache_config=_cache(),
            structured_output_manager=StructuredOutputManager(config),
            block_size=BLOCK_SIZE,
            hash_block_size=BLOCK_SIZE,
        )
        self.file = file

    def add(self, name, n_prompt, n_output):
        from vllm import SamplingParams
        from vllm.v1.request import Request

        parameters = SamplingParams(max_tokens=n_output, ignore_eos=True)
        self.scheduler.add_request(Request(name, list(range(n_prompt)), parameters, None))

    def sample(self, planned):
        """One token for each request whose prompt is done with this iteration."""
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


def _cache():
    import torch
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec

    layer = FullAttentionSpec(block_size=BLOCK_SIZE, num_kv_heads=1, head_size=1, dtype=torch.float32)
    return KVCacheConfig(num_blocks=100, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], layer)])


@pytest.fixture
def scheduled(tmp_path, monkeypatch):
    def made(*, asynchronous):
        file = IterationFile(tmp_path / "iterations.bin")
        file.clear()
        monkeypatch.setenv(FILE_VARIABLE, str(file.path))
        return Scheduled(file, asynchronous=asynchronous)

    return made


EXPECTED = [
    (0, "a", 40, 1, 0),
    (0, "b", 24, 0, 0),
    (1, "a", 0, 1, 40),
    (1, "b", 6, 1, 24),
    (2, "a", 0, 1, 41),
    (2, "b", 0, 1, 30),
]


def test_iterations_that_overlap_are_recorded_as_what_they_were(scheduled):
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


def test_iterations_one_by_one_hold_the_same(scheduled):
    run = scheduled(asynchronous=False)
    assert run.name == "RecordingScheduler"
    run.add("a", 40, 3)
    run.add("b", 30, 2)
    while run.scheduler.has_unfinished_requests():
        run.sample(run.plan())
    assert run.rows() == EXPECTED
