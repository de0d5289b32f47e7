"""Starting vLLM: its configuration, its engine core, and what the core printed if it does not come up."""

import multiprocessing.spawn as python_spawn
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.engines.vllm.arguments import hub_for
from orchestrator.engines.vllm.recorder import FILE_VARIABLE

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.engine.async_llm import AsyncLLM
from orchestrator.engines.vllm.options import Options
from orchestrator.spec.cell import Cell

_UUID_PREFIXES = ("GPU-", "MIG-")


def configure(arguments: dict[str, Any]) -> "VllmConfig":
    """The configuration vLLM makes of its arguments, with a scheduler that records; it takes seconds, so not on a loop.

    Raises:
        Exception: whatever vLLM raises.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    config = AsyncEngineArgs(**arguments).create_engine_config()
    config.scheduler_config.scheduler_cls = _recording(config.scheduler_config.get_scheduler_cls())
    return config


def start_core(config: "VllmConfig", folder: Path) -> "AsyncLLM":
    """Start the engine core and wait until it is ready; blocks, so not on a loop.

    Args:
        config: from `configure`.
        folder: where the core writes its log and its iterations.

    Raises:
        Exception: whatever vLLM raises.
    """
    from vllm.v1.engine.async_llm import AsyncLLM

    os.environ[FILE_VARIABLE] = str(iterations_path(folder))
    with _logging_to(log_path(folder), folder), hub_for(config.model_config.model):
        return AsyncLLM.from_vllm_config(config, disable_log_stats=True)


def log_path(folder: Path) -> Path:
    """What the core and its workers print."""
    return folder / "engine.log"


def iterations_path(folder: Path) -> Path:
    """What the core's scheduler records."""
    return folder / "iterations.bin"


def _recording(chosen: type) -> str:
    """The recording scheduler in place of the one vLLM has chosen, by the name the core loads it by."""
    from orchestrator.engines.vllm import scheduler

    if chosen not in scheduler.OF_VLLM:
        raise ValueError(f"iterations cannot be recorded in vLLM's {chosen.__name__}, which these arguments need")
    return f"{scheduler.__name__}.{scheduler.OF_VLLM[chosen]}"


@contextmanager
def _logging_to(log: Path, folder: Path) -> Iterator[None]:
    """Have Python processes that are spawned in this block, and theirs, print to a file.

    Our own output is never redirected: the executable that ``multiprocessing`` starts is replaced by a line of shell
    that becomes it. vLLM binds processes to NUMA nodes in the same way.
    """
    python = python_spawn.get_executable() or sys.executable
    python = os.fsdecode(python)
    wrapper = folder / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(python)} "$@" >>{shlex.quote(str(log))} 2>&1\n', encoding="utf-8")
    wrapper.chmod(0o700)
    python_spawn.set_executable(str(wrapper))
    try:
        yield
    finally:
        python_spawn.set_executable(python)


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
