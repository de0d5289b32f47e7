"""From a cell to the arguments of vLLM's ``AsyncEngineArgs``."""

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
"""Of a node without GPUs, unless ``kv_cache_memory_bytes`` is given: vLLM's own share of all memory would be 90 %."""

_ALWAYS = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # our standard output is read by programs
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a child that says why it ended: `core_start`
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as Ray and NVML count: else another GPU than the engine's is measured
    "TOKENIZERS_PARALLELISM": "false",
}
_ON_CPU = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # vLLM would bind the engines of two lanes to the same cores
    "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - 1)),  # its threads spin: one core is for who asks
}
_OFFLINE = "HF_HUB_OFFLINE"


def engine_arguments(cell: Cell) -> dict[str, Any]:
    """Keyword arguments for ``AsyncEngineArgs``; random weights get their ``config.json`` written here.

    Raises:
        CellError: the checkpoint is a path without a folder.
        UnknownArchitecture: random weights are asked for a model whose ``config.json`` is not known.
        OSError: that file cannot be written.
    """
    options = cell.engine
    assert isinstance(options, Options)
    return {
        "model": str(write_checkpoint(cell.model)) if options.checkpoint is None else _found(options.checkpoint),
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
        # inside a Ray placement group vLLM would otherwise choose "ray"
        "distributed_executor_backend": "uni" if options.tensor_parallel_size == 1 else "mp",
        **_by_device(cell, options),
        **options.passed_on,
    }


def _found(checkpoint: str) -> str:
    """A checkpoint as it is given: a hub name, or a path that must be there."""
    if checkpoint.startswith(("/", "./", "../", "~")) and not Path(checkpoint).expanduser().is_dir():
        raise CellError(f"engine.checkpoint: there is no folder {checkpoint} on this node")
    return str(Path(checkpoint).expanduser()) if checkpoint.startswith("~") else checkpoint


def _by_device(cell: Cell, options: Options) -> dict[str, Any]:
    if cell.hardware.num_gpus:
        return {"enforce_eager": bool(options.enforce_eager)}
    return {
        "enforce_eager": options.enforce_eager is not False,
        "kv_cache_memory_bytes": _CPU_KV_CACHE_BYTES,
    }


def set_environment(cell: Cell) -> None:
    """Set what is not set, for this process and the engine's (docs/engines.md lists it)."""
    wanted = dict(_ALWAYS)
    if not cell.hardware.num_gpus:
        wanted |= _ON_CPU
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


@contextmanager
def hub_for(model: str) -> Iterator[None]:
    """Keep processes spawned in this block off the hub if ``model`` is a folder; another engine here may need it."""
    if _OFFLINE in os.environ or not Path(model).is_dir():
        yield
        return
    os.environ[_OFFLINE] = "1"
    try:
        yield
    finally:
        del os.environ[_OFFLINE]
