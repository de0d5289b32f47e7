"""The architecture of a model, in the words of its public `config.json`: what speed and energy depend on."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
ASSUMED_ARCHITECTURES = ("LlamaForCausalLM", "MixtralForCausalLM")
"""Of a model that names none: the second is a mixture of experts."""


class ModelSpec(BaseModel):
    """A decoder-only transformer. ``max_model_len`` may exceed the native context where weights are dummies.

    ``architecture`` is the model's class in Hugging Face's words, which a real engine with random weights needs; None
    is Mixtral's for a mixture of experts, else Llama's, which has the shape of Mistral's, too.
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
        """The class that runs the model: the one it names, else the one that is assumed."""
        return self.architecture or ASSUMED_ARCHITECTURES[self.num_experts is not None]

    @property
    def extends_context(self) -> bool:
        """Whether the context is longer than the model was trained for: speed and energy only."""
        return self.max_model_len > self.max_position_embeddings

    @property
    def dtype_bytes(self) -> int:
        """Bytes of a weight and of a KV element."""
        return DTYPE_BYTES[self.dtype]

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token in all layers, on all GPUs together."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim * self.dtype_bytes
