"""What fits into GPU memory: weights first, then activations, and KV blocks in what is left, as vLLM divides it."""

from orchestrator.simulation.model_work import all_parameters
from orchestrator.spec.cell import Cell

GIB = 2**30


def weight_bytes(cell: Cell) -> float:
    """Weights on each GPU. Units: bytes."""
    return all_parameters(cell.model) * cell.model.dtype_bytes / cell.engine.tensor_parallel_size


def usable_bytes(cell: Cell) -> float:
    """Memory of each GPU that the engine may use. Units: bytes."""
    return cell.gpu.memory_gib * GIB * cell.engine.gpu_memory_utilization


def activation_bytes(cell: Cell) -> float:
    """Estimate of the peak beside weights and cache: one layer of a full batch, and its logits in float32."""
    model, options = cell.model, cell.engine
    width = 4 * model.hidden_size + 2 * model.intermediate_size / options.tensor_parallel_size
    return options.max_num_batched_tokens * width * model.dtype_bytes + options.max_num_seqs * model.vocab_size * 4


def kv_capacity_blocks(cell: Cell) -> int:
    """Blocks of the KV cache; as in vLLM one of them is never handed out, and not counted here."""
    options = cell.engine
    free = usable_bytes(cell) - weight_bytes(cell) - activation_bytes(cell)
    token_bytes = cell.model.kv_bytes_per_token / min(options.tensor_parallel_size, cell.model.num_key_value_heads)
    return max(0, int(free // (options.block_size * token_bytes)) - 1)


def kv_capacity_tokens(cell: Cell) -> int:
    """Tokens the KV cache holds. Units: tokens."""
    return kv_capacity_blocks(cell) * cell.engine.block_size
