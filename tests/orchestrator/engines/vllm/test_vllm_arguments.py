import json
import os
from pathlib import Path
from unittest import mock

import pytest
from vllm_cells import CONF, a_cell, preset

from orchestrator.engines.vllm.arguments import engine_arguments, set_environment
from orchestrator.engines.vllm.checkpoint import UnknownArchitecture, config_json, write_checkpoint
from orchestrator.errors import CellError
from orchestrator.spec.model import ModelSpec, read_config_json

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


ARCHITECTURES = {
    "gemma3_12b": ("Gemma3ForCausalLM", "gemma3_text"),
    "llama3_1_8b": ("LlamaForCausalLM", "llama"),
    "mistral_7b": ("LlamaForCausalLM", "llama"),  # the same layers
    "mixtral_8x7b": ("MixtralForCausalLM", "mixtral"),
    "qwen3_8b": ("Qwen3ForCausalLM", "qwen3"),
    "qwen3_30b_a3b": ("Qwen3MoeForCausalLM", "qwen3_moe"),
}


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def spec(name):
    return ModelSpec.model_validate(preset("model", name))


@pytest.mark.parametrize("name", MODELS)
def test_the_written_config_reads_back_as_the_model(name):
    model = spec(name)
    figures = read_config_json(write_checkpoint(model) / "config.json")
    wanted = model.model_dump(exclude={"name", "max_model_len", "max_position_embeddings"})
    if model.architecture_name == "MixtralForCausalLM":
        wanted["intermediate_size"] = model.moe_intermediate_size
    read = ModelSpec(max_model_len=model.max_model_len, **figures)
    assert read.model_dump(exclude={"name", "max_model_len", "max_position_embeddings"}) == wanted
    assert read.max_position_embeddings >= model.max_model_len


@pytest.mark.parametrize(("name", "architecture"), ARCHITECTURES.items())
def test_every_family_has_its_own_class(name, architecture):
    config = config_json(spec(name))
    assert (config["architectures"], config["model_type"]) == ([architecture[0]], architecture[1])


def test_a_longer_context_than_the_native_one_is_written():
    long = spec("llama2_7b").model_copy(update={"max_model_len": 9999})
    assert config_json(long)["max_position_embeddings"] == 9999


def test_an_unknown_family_needs_a_checkpoint():
    model = spec("tiny_llama").model_copy(update={"architecture": "MambaForCausalLM"})
    with pytest.raises(UnknownArchitecture, match=r"got MambaForCausalLM; set engine\.checkpoint"):
        config_json(model)


def test_equal_models_share_a_folder_so_that_compiled_code_is_reused(temporary_folder):
    first, again, other = (write_checkpoint(spec(name)) for name in ("tiny_llama", "tiny_llama", "qwen3_8b"))
    assert first == again != other
    assert [path.name for path in first.iterdir()] == ["config.json"]
    assert json.loads((first / "config.json").read_text())["hidden_size"] == 256


def test_random_weights_have_the_shape_of_the_model():
    given = engine_arguments(a_cell(max_num_batched_tokens=64, scheduling_policy="priority"))
    assert (given["load_format"], given["skip_tokenizer_init"], given["dtype"]) == ("dummy", True, "bfloat16")
    assert (given["max_num_seqs"], given["max_num_batched_tokens"], given["max_model_len"]) == (8, 64, 16384)
    assert (given["scheduling_policy"], given["distributed_executor_backend"]) == ("priority", "uni")
    assert Path(given["model"], "config.json").exists()


@pytest.mark.parametrize(("policy", "vllms"), [("fcfs", "fcfs"), ("priority", "priority"), ("workflow", "priority")])
def test_vllm_orders_by_priority_under_every_policy_but_fcfs(policy, vllms):
    assert engine_arguments(a_cell(scheduling_policy=policy))["scheduling_policy"] == vllms


def test_several_gpus_use_workers_of_this_host():
    assert engine_arguments(a_cell(tensor_parallel_size=2))["distributed_executor_backend"] == "mp"


def test_a_cpu_runs_eagerly_with_a_small_cache_unless_configured():
    plain = engine_arguments(a_cell())
    assert (plain["enforce_eager"], plain["kv_cache_memory_bytes"]) == (True, 2**30)
    explicit = engine_arguments(a_cell(enforce_eager=False, kv_cache_memory_bytes=5))
    assert (explicit["enforce_eager"], explicit["kv_cache_memory_bytes"]) == (False, 5)
    gpu = engine_arguments(a_cell(hardware="h100_sxm"))
    assert gpu["enforce_eager"] is False
    assert "kv_cache_memory_bytes" not in gpu


def test_a_checkpoint_is_loaded_with_its_tokenizer_only_for_natural_stops(tmp_path):
    given = engine_arguments(a_cell(checkpoint=str(tmp_path)))
    assert (given["model"], given["load_format"], given["skip_tokenizer_init"]) == (str(tmp_path), "auto", True)
    natural = engine_arguments(a_cell(checkpoint="somebody/model", natural_stops=True))
    assert (natural["model"], natural["skip_tokenizer_init"]) == ("somebody/model", False)
    assert natural["generation_config"] == "auto"


def test_a_path_without_a_folder_is_named():
    with pytest.raises(CellError, match=r"engine\.checkpoint: there is no folder /nothing/here on this node"):
        engine_arguments(a_cell(checkpoint="/nothing/here"))


@pytest.mark.parametrize(
    ("before", "after"), [({}, "PCI_BUS_ID"), ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, "FASTEST_FIRST")]
)
def test_cuda_orders_gpus_as_ray_and_nvml_do_unless_the_user_set_an_order(before, after):
    with mock.patch.dict(os.environ, before, clear=True):
        set_environment(a_cell())
        assert os.environ["CUDA_DEVICE_ORDER"] == after
