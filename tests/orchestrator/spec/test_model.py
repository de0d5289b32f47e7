import json

import pytest

from orchestrator.errors import UserError
from orchestrator.spec.model import ModelSpec, read_config_json

LLAMA_3_1_8B = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}


MIXTRAL_8X7B = {
    **LLAMA_3_1_8B,
    "architectures": ["MixtralForCausalLM"],
    "max_position_embeddings": 32768,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
}


QWEN3_30B_A3B = {
    **LLAMA_3_1_8B,
    "architectures": ["Qwen3MoeForCausalLM"],
    "head_dim": 128,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "vocab_size": 151936,
}


def spec_of(figures):
    return ModelSpec(max_model_len=4096, **figures)


@pytest.fixture
def config(tmp_path):
    def write(content):
        path = tmp_path / "Some-Model" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_a_dense_model_is_read_whole(config):
    spec = spec_of(read_config_json(config(LLAMA_3_1_8B)))
    assert (spec.name, spec.head_dim, spec.num_key_value_heads) == ("Some-Model", 128, 8)
    assert (spec.max_position_embeddings, spec.dtype, spec.num_experts) == (131072, "bfloat16", None)


def test_what_old_configs_leave_out_has_its_usual_meaning(config):
    plain = {key: value for key, value in LLAMA_3_1_8B.items() if key not in ("num_key_value_heads", "torch_dtype")}
    spec = spec_of(read_config_json(config(plain)))
    assert (spec.num_key_value_heads, spec.dtype) == (32, "bfloat16")


@pytest.mark.parametrize(("content", "experts"), [(MIXTRAL_8X7B, (8, 2, 14336)), (QWEN3_30B_A3B, (128, 8, 768))])
def test_mixtures_of_experts_under_both_spellings(config, content, experts):
    spec = spec_of(read_config_json(config(content)))
    assert (spec.num_experts, spec.num_experts_per_tok, spec.moe_intermediate_size) == experts


@pytest.mark.parametrize(
    ("content", "kept", "name"),
    [
        (LLAMA_3_1_8B, None, "LlamaForCausalLM"),
        (MIXTRAL_8X7B, None, "MixtralForCausalLM"),
        (QWEN3_30B_A3B, "Qwen3MoeForCausalLM", "Qwen3MoeForCausalLM"),
        ({**LLAMA_3_1_8B, "architectures": ["Qwen3ForCausalLM"]}, "Qwen3ForCausalLM", "Qwen3ForCausalLM"),
        (
            {**LLAMA_3_1_8B, "architectures": ["Gemma3ForConditionalGeneration"]},
            "Gemma3ForCausalLM",
            "Gemma3ForCausalLM",
        ),
        ({**LLAMA_3_1_8B, "architectures": None}, None, "LlamaForCausalLM"),
    ],
)
def test_the_class_of_a_model_is_kept_where_it_is_not_the_one_assumed(config, content, kept, name):
    figures = read_config_json(config(content))
    assert figures.get("architecture") == kept
    assert spec_of(figures).architecture_name == name


def test_the_text_part_of_a_multimodal_model(config):
    spec = spec_of(read_config_json(config({"text_config": LLAMA_3_1_8B, "vision_config": {"hidden_size": 1}})))
    assert spec.hidden_size == 4096


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object, got list"),
        ({}, "needs whole numbers above 0 for num_hidden_layers, hidden_size, intermediate_size, num_attention_heads"),
        ({**LLAMA_3_1_8B, "hidden_size": "4096"}, "needs whole numbers above 0 for hidden_size: "),
        ({**LLAMA_3_1_8B, "torch_dtype": "int4"}, "torch_dtype must be bfloat16, float16, float32, got 'int4'"),
        (
            {**LLAMA_3_1_8B, "num_experts": 8},
            "a mixture of experts needs whole numbers above 0 for num_experts_per_tok",
        ),
        ({"text_config": 3}, "text_config must be an object, got int"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(config, content, message):
    with pytest.raises(UserError, match=message) as refused:
        read_config_json(config(content))
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config.json: cannot be read: No such file or directory"):
        read_config_json(tmp_path / "config.json")
