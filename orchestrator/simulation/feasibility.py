"""Cells that no engine could start, from their own figures: before anything is placed or loaded."""

from orchestrator.errors import InfeasibleCell
from orchestrator.simulation.capacity import GIB, kv_capacity_tokens, usable_bytes, weight_bytes
from orchestrator.spec.cell import Cell


def check_parallelism(cell: Cell) -> None:
    """A model is divided by its heads, over the GPUs of one node.

    Raises:
        InfeasibleCell: too few GPUs, or heads that do not divide. A node without GPUs divides over its CPUs.
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
    """The weights fit the share of the GPUs' memory that the engine may use.

    Raises:
        InfeasibleCell: they do not, or the GPUs' figures are not known.
    """
    options, needed, usable = cell.engine, weight_bytes(cell) / GIB, usable_bytes(cell) / GIB
    if needed > usable:
        raise InfeasibleCell(
            f"{cell.model.name} needs {needed:.1f} GiB of weights on each of {options.tensor_parallel_size} GPUs; "
            f"{cell.hardware.name} gives {usable:.1f} GiB ({cell.gpu.memory_gib:g} GiB x gpu_memory_utilization "
            f"{options.gpu_memory_utilization:g}): raise tensor_parallel_size"
        )


def check_cache(cell: Cell) -> None:
    """The KV cache holds one request of full length.

    Raises:
        InfeasibleCell: it does not, or the GPUs' figures are not known.
    """
    capacity = kv_capacity_tokens(cell)
    if capacity < cell.model.max_model_len:
        raise InfeasibleCell(
            f"the KV cache of {cell.model.name} on {cell.engine.tensor_parallel_size} x {cell.hardware.name} holds "
            f"{capacity} tokens, fewer than one request of max_model_len {cell.model.max_model_len}: lower "
            f"max_model_len, or raise tensor_parallel_size or gpu_memory_utilization"
        )
