"""vLLM's view of a cell: the arguments of its ``AsyncEngineArgs``, and its environment variables."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.engines.vllm.checkpoint import write_checkpoint
from orchestrator.engines.vllm.options import Options
from orchestrator.errors import CellError
from orchestrator.spec.cell import Cell

_CPU_KV_CACHE_BYTES = 2**30
"""On a node without GPUs, unless ``kv_cache_memory_bytes`` is given: vLLM's default would be 90 % of all memory."""

_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output is for results
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # `core_start` captures the output of spawned processes
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the order of Ray and NVML; with another one the wrong GPU is measured
    "TOKENIZERS_PARALLELISM": "false",
}
_CPU_ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # vLLM would bind the engines of two lanes to the same cores
    "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - 1)),  # OpenMP threads spin; the client needs a core
}
_HUB_OFFLINE = "HF_HUB_OFFLINE"


def engine_arguments(cell: Cell) -> dict[str, Any]:
    """Return the keyword arguments for ``AsyncEngineArgs``; for random weights, write the ``config.json``.

    Raises:
        CellError: the checkpoint is a path without a folder.
        UnknownArchitecture: the cell needs random weights, and the architecture of its model is not supported.
        OSError: the ``config.json`` cannot be written.
    """
    options = cell.engine
    assert isinstance(options, Options)
    return {
        "model": str(write_checkpoint(cell.model)) if options.checkpoint is None else _resolve(options.checkpoint),
        "load_format": "auto" if options.checkpoint else "dummy",
        "generation_config": "auto" if options.natural_stops else "vllm",
        "skip_tokenizer_init": not options.natural_stops,
        "dtype": cell.model.dtype,
        "max_model_len": cell.model.max_model_len,
        "seed": cell.seed,
        "max_num_seqs": options.max_num_seqs,
        "max_num_batched_tokens": options.max_num_batched_tokens,
        "enable_prefix_caching": options.enable_prefix_caching,
        "enable_chunked_prefill": options.enable_chunked_prefill,
        "block_size": options.block_size,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "tensor_parallel_size": options.tensor_parallel_size,
        "scheduling_policy": "fcfs" if options.scheduling_policy == "fcfs" else "priority",
        # without it, vLLM would choose "ray" inside a Ray placement group
        "distributed_executor_backend": "uni" if options.tensor_parallel_size == 1 else "mp",
        **_device_arguments(cell, options),
        **options.passed_on,
    }


def _resolve(checkpoint: str) -> str:
    """Return a hub name unchanged, a path with ``~`` expanded.

    Raises:
        CellError: there is no folder at the path.
    """
    if checkpoint.startswith(("/", "./", "../", "~")) and not Path(checkpoint).expanduser().is_dir():
        raise CellError(f"engine.checkpoint: there is no folder {checkpoint} on this node")
    return str(Path(checkpoint).expanduser()) if checkpoint.startswith("~") else checkpoint


def _device_arguments(cell: Cell, options: Options) -> dict[str, Any]:
    if cell.hardware.num_gpus:
        return {"enforce_eager": bool(options.enforce_eager)}
    return {
        "enforce_eager": options.enforce_eager is not False,
        "kv_cache_memory_bytes": _CPU_KV_CACHE_BYTES,
    }


def set_environment(cell: Cell) -> None:
    """Set the environment variables of docs/engines.md that are not set, for this process and its children."""
    variables = _ENVIRONMENT if cell.hardware.num_gpus else _ENVIRONMENT | _CPU_ENVIRONMENT
    for name, value in variables.items():
        os.environ.setdefault(name, value)


@contextmanager
def hub_offline_if_local(model: str) -> Iterator[None]:
    """Set ``HF_HUB_OFFLINE`` for processes spawned in this block if ``model`` is a folder.

    It is unset afterwards, because another engine of this process may need the hub.
    """
    if _HUB_OFFLINE in os.environ or not Path(model).is_dir():
        yield
        return
    os.environ[_HUB_OFFLINE] = "1"
    try:
        yield
    finally:
        del os.environ[_HUB_OFFLINE]
