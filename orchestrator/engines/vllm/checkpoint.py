"""The ``config.json`` of a model that vLLM runs with random weights (``load_format=dummy``).

Speed and energy depend on the shapes alone, so nothing is downloaded. Fields that do not affect the shapes (activation,
rotary base, end token) get the usual value of the model family.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from orchestrator.spec.model import ModelSpec

_MODEL_TYPES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "Gemma3ForCausalLM": "gemma3_text",
}


class UnknownArchitecture(Exception):
    """Random weights are not supported for the architecture of a model."""


def config_json(model: ModelSpec) -> dict[str, Any]:
    """Return the content of the Hugging Face ``config.json`` of a model.

    The context is at least ``max_model_len``: random weights have no trained range of positions.

    Raises:
        UnknownArchitecture: the architecture is not supported.
    """
    architecture = model.architecture_name
    if architecture not in _MODEL_TYPES:
        raise UnknownArchitecture(
            f"model.architecture: random weights are supported for {', '.join(_MODEL_TYPES)}, got {architecture}; "
            "set engine.checkpoint to a folder with its config.json"
        )
    return {
        "architectures": [architecture],
        "model_type": _MODEL_TYPES[architecture],
        "torch_dtype": model.dtype,
        "num_hidden_layers": model.num_hidden_layers,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_key_value_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocab_size,
        "max_position_embeddings": max(model.max_position_embeddings, model.max_model_len),
        "tie_word_embeddings": model.tie_word_embeddings,
        "rms_norm_eps": 1e-6,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **_family_fields(model, architecture),
    }


def _family_fields(model: ModelSpec, architecture: str) -> dict[str, Any]:
    """Return the fields that are specific to an architecture."""
    if architecture == "Gemma3ForCausalLM":
        return {
            "hidden_activation": "gelu_pytorch_tanh",
            "sliding_window": 1024,
            "sliding_window_pattern": 6,
            "query_pre_attn_scalar": model.hidden_size // model.num_attention_heads,
        }
    common = {"hidden_act": "silu", "rope_theta": 500_000.0, "sliding_window": None}
    if architecture == "MixtralForCausalLM":
        return {
            **common,
            "intermediate_size": model.moe_intermediate_size or model.intermediate_size,
            "num_local_experts": model.num_experts,
            "num_experts_per_tok": model.num_experts_per_tok,
        }
    if architecture == "Qwen3MoeForCausalLM":
        return {
            **common,
            "num_experts": model.num_experts,
            "num_experts_per_tok": model.num_experts_per_tok,
            "moe_intermediate_size": model.moe_intermediate_size,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
        }
    return common


def write_checkpoint(model: ModelSpec) -> Path:
    """Write the ``config.json`` of a model and return its folder.

    Equal models share one folder, because the path is part of the key of vLLM's compilation cache.

    Raises:
        UnknownArchitecture: the architecture is not supported.
        OSError: the file cannot be written.
    """
    text = json.dumps(config_json(model), indent=1, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"joulegrid-{os.getuid()}" / "checkpoints" / digest
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = folder / f"config.json.{os.getpid()}"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(folder / "config.json")
    return folder
