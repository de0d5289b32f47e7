"""Start of vLLM's engine core: its configuration, its files, and the facts of the start that a record keeps."""

import multiprocessing.spawn as python_spawn
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.engines.vllm.arguments import hub_offline_if_local
from orchestrator.engines.vllm.options import Options
from orchestrator.engines.vllm.recorder import FILE_VARIABLE
from orchestrator.spec.cell import Cell

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.engine.async_llm import AsyncLLM

_UUID_PREFIXES = ("GPU-", "MIG-")


def configure(arguments: dict[str, Any]) -> "VllmConfig":
    """Return vLLM's configuration for its arguments, with a recording scheduler. Blocks for seconds.

    Raises:
        Exception: any exception of vLLM.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    config = AsyncEngineArgs(**arguments).create_engine_config()
    config.scheduler_config.scheduler_cls = _recording_scheduler(config.scheduler_config.get_scheduler_cls())
    return config


def _recording_scheduler(scheduler_class: type) -> str:
    """Return the dotted name of the recording subclass of a scheduler of vLLM; the core imports it by this name."""
    from orchestrator.engines.vllm import scheduler

    if scheduler_class not in scheduler.RECORDING_CLASSES:
        raise ValueError(f"these arguments select vLLM's {scheduler_class.__name__}, which Joulegrid cannot record")
    return f"{scheduler.__name__}.{scheduler.RECORDING_CLASSES[scheduler_class]}"


def start_core(config: "VllmConfig", folder: Path) -> "AsyncLLM":
    """Start the engine core and wait until it is ready. Blocks for up to an hour.

    Args:
        config: the result of `configure`.
        folder: where the core writes its log and its iterations.

    Raises:
        Exception: any exception of vLLM.
    """
    from vllm.v1.engine.async_llm import AsyncLLM

    os.environ[FILE_VARIABLE] = str(iterations_path(folder))
    with _output_to_log(folder), hub_offline_if_local(config.model_config.model):
        return AsyncLLM.from_vllm_config(config, disable_log_stats=True)


def log_path(folder: Path) -> Path:
    """Return the file with the output of the core and its workers."""
    return folder / "engine.log"


def iterations_path(folder: Path) -> Path:
    """Return the file with the records of the core's scheduler."""
    return folder / "iterations.bin"


@contextmanager
def _output_to_log(folder: Path) -> Iterator[None]:
    """Redirect the output of Python processes spawned in this block, and of their children, to the log.

    The output of this process is not redirected: ``multiprocessing`` gets a shell script as its Python executable.
    vLLM binds processes to NUMA nodes in the same way.
    """
    python = os.fsdecode(python_spawn.get_executable() or sys.executable)
    log = shlex.quote(str(log_path(folder)))
    wrapper = folder / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(python)} "$@" >>{log} 2>&1\n', encoding="utf-8")
    wrapper.chmod(0o700)
    python_spawn.set_executable(str(wrapper))
    try:
        yield
    finally:
        python_spawn.set_executable(python)


def provenance(cell: Cell, config: "VllmConfig") -> dict[str, str]:
    """Return versions, device, and the settings that vLLM derived from its arguments."""
    import torch
    import vllm
    from vllm.platforms import current_platform

    options = cell.engine
    assert isinstance(options, Options)
    n_blocks = config.cache_config.num_gpu_blocks or 0
    facts = {
        "vllm": vllm.__version__,
        "torch": torch.__version__,
        "device": current_platform.get_device_name(),
        "weights": options.checkpoint or "random, in the shape of the model",
        "vllm_scheduler": str(config.scheduler_config.scheduler_cls).rpartition(".")[2],
        "vllm_executor": str(config.parallel_config.distributed_executor_backend),
        "enforce_eager": str(config.model_config.enforce_eager),
        "kv_cache_tokens": str(n_blocks * config.cache_config.block_size),
    }
    backend = getattr(getattr(config, "attention_config", None), "backend", None)
    return facts if backend is None else {**facts, "attention_backend": str(getattr(backend, "name", backend))}


def devices(cell: Cell) -> tuple[str, ...]:
    """Return the UUIDs of the engine's GPUs, none on a CPU. They are read through NVML, without a CUDA context."""
    if not cell.hardware.num_gpus:
        return ()
    from vllm.platforms import current_platform

    count = cell.engine.tensor_parallel_size
    visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
    if len(visible) >= count and all(part.startswith(_UUID_PREFIXES) for part in visible):
        return tuple(visible[:count])
    return tuple(current_platform.get_device_uuid(index) for index in range(count))
