"""Work of one iteration on one GPU: bytes, FLOPs and messages (equations in docs/simulation.md); parameter counts."""

from dataclasses import dataclass

from orchestrator.spec.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Batch:
    """The content of one iteration.

    ``context_tokens`` are the tokens whose keys and values are read, summed over sequences. ``n_pairs`` are the pairs
    of a scheduled token and a token that it attends to; ``prefill_pairs`` are those of prompts.
    """

    n_tokens: int
    n_sampled: int
    context_tokens: int
    n_pairs: int
    prefill_pairs: int = 0
    has_prefill: bool = False


class ModelWork:
    """Bytes and FLOPs of a model on each of ``n_gpus`` tensor-parallel GPUs."""

    def __init__(self, model: ModelSpec, n_gpus: int) -> None:
        self.n_layers = model.num_hidden_layers
        self.n_gpus = n_gpus
        self.vocab_size = model.vocab_size
        self._model = model
        head = model.vocab_size * model.hidden_size
        linear = linear_parameters(model)
        self.weight_bytes = (linear + head) * model.dtype_bytes / n_gpus
        self.kv_bytes_per_token = model.kv_bytes_per_token / min(n_gpus, model.num_key_value_heads)
        self.flops_per_token = 2 * linear / n_gpus
        self.flops_per_sample = 2 * head / n_gpus
        self.flops_per_pair = 4 * model.num_attention_heads * model.head_dim * self.n_layers / n_gpus
        self.allreduce_bytes_per_token = (
            2 * self.n_layers * 2 * (n_gpus - 1) / n_gpus * model.hidden_size * model.dtype_bytes
        )
        self.n_moe_layers = self.n_layers if model.num_experts else 0
        self.expert_flops_per_token = (
            2 * self.n_moe_layers * (model.num_experts_per_tok or 0) * expert_parameters(model) / n_gpus
        )

    def expert_bytes(self, n_tokens: int) -> float:
        """Return the expert weights read for ``n_tokens`` tokens, if tokens choose them uniformly and independently."""
        n_experts = self._model.num_experts
        if not n_experts:
            return 0.0
        unused_share = (1 - (self._model.num_experts_per_tok or 0) / n_experts) ** n_tokens
        n_used = n_experts * (1 - unused_share)
        return self.n_moe_layers * n_used * expert_parameters(self._model) * self._model.dtype_bytes / self.n_gpus


def linear_parameters(model: ModelSpec) -> int:
    """Return the parameters that every token uses in all layers: attention, and the dense MLP or the router."""
    query = model.num_attention_heads * model.head_dim
    key_value = model.num_key_value_heads * model.head_dim
    attention = 2 * model.hidden_size * query + 2 * model.hidden_size * key_value
    mlp_or_router = model.hidden_size * (model.num_experts or 3 * model.intermediate_size)
    return model.num_hidden_layers * (attention + mlp_or_router)


def expert_parameters(model: ModelSpec) -> int:
    """Return the parameters of one expert of one layer; 0 for a dense model."""
    return 3 * model.hidden_size * (model.moe_intermediate_size or 0)


def all_parameters(model: ModelSpec) -> int:
    """Return all parameters in memory, with the embedding and the output head."""
    tables = model.vocab_size * model.hidden_size * (1 if model.tie_word_embeddings else 2)
    experts = model.num_hidden_layers * (model.num_experts or 0) * expert_parameters(model)
    return linear_parameters(model) + experts + tables
