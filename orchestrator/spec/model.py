"""The architecture of a model, with the names of Hugging Face's ``config.json``; and a reader of that file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.errors import UserError

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
ASSUMED_ARCHITECTURES = ("LlamaForCausalLM", "MixtralForCausalLM")
"""Architectures of models that name none: dense, and mixture of experts."""

_REQUIRED = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "vocab_size",
    "max_position_embeddings",
)
_NUM_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


class ModelSpec(BaseModel):
    """A decoder-only transformer. ``max_model_len`` may exceed the native context if weights are random.

    ``architecture`` is Hugging Face's model class, which a real engine with random weights needs. None is Mixtral's for
    a mixture of experts, else Llama's (Mistral has the same shape).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    num_hidden_layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    tie_word_embeddings: bool = False
    max_position_embeddings: int = Field(ge=1)
    max_model_len: int = Field(ge=1)
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    num_experts: int | None = Field(default=None, ge=1)
    num_experts_per_tok: int | None = Field(default=None, ge=1)
    moe_intermediate_size: int | None = Field(default=None, ge=1)
    architecture: str | None = None

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelSpec":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads ({self.num_attention_heads}) must be a multiple of "
                f"num_key_value_heads ({self.num_key_value_heads})"
            )
        return self

    @property
    def architecture_name(self) -> str:
        """The model class: the one it names, else the assumed one."""
        return self.architecture or ASSUMED_ARCHITECTURES[self.num_experts is not None]

    @property
    def extends_context(self) -> bool:
        """Whether the context exceeds the native one; then only speed and energy are meaningful."""
        return self.max_model_len > self.max_position_embeddings

    @property
    def dtype_bytes(self) -> int:
        """Bytes of a weight and of an element of the KV cache."""
        return DTYPE_BYTES[self.dtype]

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of the keys and values of one token, in all layers, on all GPUs together."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim * self.dtype_bytes


def read_config_json(path: str | Path) -> dict[str, Any]:
    """Read the fields of `ModelSpec`, except ``max_model_len``, from a decoder's ``config.json``.

    Defaults are Hugging Face's: as many key-value heads as heads; ``head_dim`` is the hidden size divided by the
    number of heads. ``name`` is the one in the file, or that of the folder.

    Raises:
        UserError: The file cannot be read, is not JSON, or lacks a figure.
    """
    config = _text_config(_read(Path(path)), path)
    missing = [key for key in _REQUIRED if not _is_count(config.get(key))]
    if missing:
        raise UserError(f"{path}: needs whole numbers above 0 for {', '.join(missing)}: not a decoder's config.json?")
    heads, experts = config["num_attention_heads"], _experts(config, path)
    return {
        "name": config.get("_name_or_path") or Path(path).resolve().parent.name,
        **{key: config[key] for key in _REQUIRED},
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or config["hidden_size"] // heads,
        "tie_word_embeddings": bool(config.get("tie_word_embeddings", False)),
        **_dtype(config, path),
        **experts,
        **_architecture(config, is_mixture=bool(experts)),
    }


def _read(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: must hold a JSON object, got {type(config).__name__}")
    return config


def _text_config(config: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Return the part of the language model, which multimodal models keep under ``text_config``."""
    nested = config.get("text_config", {})
    if not isinstance(nested, dict):
        raise UserError(f"{path}: text_config must be an object, got {type(nested).__name__}")
    return {**config, **nested}


def _dtype(config: Mapping[str, Any], path: str | Path) -> dict[str, str]:
    dtype = config.get("torch_dtype") or config.get("dtype") or "bfloat16"
    if dtype not in DTYPE_BYTES:
        raise UserError(f"{path}: torch_dtype must be {', '.join(DTYPE_BYTES)}, got {dtype!r}")
    return {"dtype": dtype}


def _architecture(config: Mapping[str, Any], *, is_mixture: bool) -> dict[str, str]:
    """Return the model class, if it is not the assumed one; for a multimodal model, that of its language model."""
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        return {}
    name = named[0].replace("ForConditionalGeneration", "ForCausalLM")
    return {} if name == ASSUMED_ARCHITECTURES[is_mixture] else {"architecture": name}


def _experts(config: Mapping[str, Any], path: str | Path) -> dict[str, int]:
    """Return the fields of a mixture of experts; Mixtral has the width of an expert in ``intermediate_size``."""
    n_experts = next((config[key] for key in _NUM_EXPERTS if config.get(key)), None)
    if n_experts is None:
        return {}
    experts = {
        "num_experts": n_experts,
        "num_experts_per_tok": config.get("num_experts_per_tok"),
        "moe_intermediate_size": config.get("moe_intermediate_size") or config["intermediate_size"],
    }
    wrong = [key for key, value in experts.items() if not _is_count(value)]
    if wrong:
        raise UserError(f"{path}: a mixture of experts needs whole numbers above 0 for {', '.join(wrong)}")
    return experts


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
