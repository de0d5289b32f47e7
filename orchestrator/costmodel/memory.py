"""GPU memory as vLLM divides it: weights, activations, and the KV cache in the rest; and whether a cell fits."""

from orchestrator.costmodel.work import all_parameters
from orchestrator.errors import InfeasibleCell
from orchestrator.spec.cell import Cell

GIB = 2**30


def weight_bytes(cell: Cell) -> float:
    """Return the size of the weights on each GPU. Units: bytes."""
    return all_parameters(cell.model) * cell.model.dtype_bytes / cell.engine.tensor_parallel_size


def usable_bytes(cell: Cell) -> float:
    """Return the memory of each GPU that the engine may use. Units: bytes."""
    return cell.gpu.memory_gib * GIB * cell.engine.gpu_memory_utilization


def activation_bytes(cell: Cell) -> float:
    """Return the estimated peak of activations: one layer of a full batch, and its float32 logits. Units: bytes."""
    model, options = cell.model, cell.engine
    width = 4 * model.hidden_size + 2 * model.intermediate_size / options.tensor_parallel_size
    return options.max_num_batched_tokens * width * model.dtype_bytes + options.max_num_seqs * model.vocab_size * 4


def kv_capacity_blocks(cell: Cell) -> int:
    """Return the number of usable KV blocks, without the one block that vLLM never allocates."""
    options = cell.engine
    free = usable_bytes(cell) - weight_bytes(cell) - activation_bytes(cell)
    token_bytes = cell.model.kv_bytes_per_token / min(options.tensor_parallel_size, cell.model.num_key_value_heads)
    return max(0, int(free // (options.block_size * token_bytes)) - 1)


def kv_capacity_tokens(cell: Cell) -> int:
    """Return the capacity of the KV cache. Units: tokens."""
    return kv_capacity_blocks(cell) * cell.engine.block_size


def check_parallelism(cell: Cell) -> None:
    """Check that the heads of the model can be divided over the GPUs of one node.

    On a node without GPUs the number of devices is not limited.

    Raises:
        InfeasibleCell: too few GPUs, or heads that cannot be divided.
    """
    model, hardware, n_gpus = cell.model, cell.hardware, cell.engine.tensor_parallel_size
    if hardware.num_gpus and n_gpus > hardware.num_gpus:
        raise InfeasibleCell(
            f"tensor_parallel_size {n_gpus} needs {n_gpus} GPUs on one node; {hardware.name} nodes have "
            f"{hardware.num_gpus}"
        )
    if model.num_attention_heads % n_gpus:
        raise InfeasibleCell(
            f"tensor_parallel_size {n_gpus} must divide the {model.num_attention_heads} attention heads of {model.name}"
        )
    if max(model.num_key_value_heads, n_gpus) % min(model.num_key_value_heads, n_gpus):
        raise InfeasibleCell(
            f"tensor_parallel_size {n_gpus} must divide the {model.num_key_value_heads} key-value heads of "
            f"{model.name}, or be a multiple of them"
        )


def check_weights(cell: Cell) -> None:
    """Check that the weights fit into the memory that the engine may use.

    Raises:
        InfeasibleCell: they do not fit, or the figures of the GPU are unknown.
    """
    options, needed, usable = cell.engine, weight_bytes(cell) / GIB, usable_bytes(cell) / GIB
    if needed > usable:
        raise InfeasibleCell(
            f"{cell.model.name} needs {needed:.1f} GiB of weights on each of {options.tensor_parallel_size} GPUs; "
            f"{cell.hardware.name} gives {usable:.1f} GiB ({cell.gpu.memory_gib:g} GiB x gpu_memory_utilization "
            f"{options.gpu_memory_utilization:g}): raise tensor_parallel_size"
        )


def check_cache(cell: Cell) -> None:
    """Check that the KV cache holds one request of ``max_model_len`` tokens.

    Raises:
        InfeasibleCell: it does not, or the figures of the GPU are unknown.
    """
    capacity = kv_capacity_tokens(cell)
    if capacity < cell.model.max_model_len:
        raise InfeasibleCell(
            f"the KV cache of {cell.model.name} on {cell.engine.tensor_parallel_size} x {cell.hardware.name} holds "
            f"{capacity} tokens, fewer than one request of max_model_len {cell.model.max_model_len}: lower "
            f"max_model_len, or raise tensor_parallel_size or gpu_memory_utilization"
        )
