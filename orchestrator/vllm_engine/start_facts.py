"""What a started vLLM says of itself: what a result depends on, and the GPUs it is on."""

import os
from typing import Any

from orchestrator.engines.vllm import Options
from orchestrator.spec.cell import Cell

_UUID_PREFIXES = ("GPU-", "MIG-")


def provenance(cell: Cell, config: Any) -> dict[str, str]:
    """Versions, device and what vLLM made of the arguments; ``config`` is its own configuration."""
    import torch
    import vllm
    from vllm.platforms import current_platform

    options = cell.engine
    assert isinstance(options, Options)
    blocks = config.cache_config.num_gpu_blocks or 0
    found = {
        "vllm": vllm.__version__,
        "torch": torch.__version__,
        "device": current_platform.get_device_name(),
        "weights": options.checkpoint or "random, in the shape of the model",
        "vllm_scheduler": str(config.scheduler_config.scheduler_cls).rpartition(".")[2],
        "vllm_executor": str(config.parallel_config.distributed_executor_backend),
        "enforce_eager": str(config.model_config.enforce_eager),
        "kv_cache_tokens": str(blocks * config.cache_config.block_size),
    }
    backend = getattr(getattr(config, "attention_config", None), "backend", None)
    return found if backend is None else {**found, "attention_backend": str(getattr(backend, "name", backend))}


def devices(cell: Cell) -> tuple[str, ...]:
    """UUIDs of the GPUs the engine is on; none on a CPU. They are read through NVML: no CUDA context is made here."""
    if not cell.hardware.num_gpus:
        return ()
    from vllm.platforms import current_platform

    count = cell.engine.tensor_parallel_size
    visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
    if len(visible) >= count and all(part.startswith(_UUID_PREFIXES) for part in visible):
        return tuple(visible[:count])
    return tuple(current_platform.get_device_uuid(index) for index in range(count))
