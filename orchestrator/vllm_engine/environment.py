"""The environment vLLM is started in: defaults only, what is set already stays. Before vLLM is imported."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.spec.cell import Cell

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
