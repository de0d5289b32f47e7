"""The environment vLLM is started in: defaults only, what is set already stays. Before vLLM is imported."""

import os

from orchestrator.cell import Cell
from orchestrator.engines.vllm import Options

_ALWAYS = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # our standard output is read by programs
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a child that says why it ended: `core_start`
    "TOKENIZERS_PARALLELISM": "false",
}
_ON_CPU = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}  # vLLM would bind the engines of two lanes to the same cores
_OFFLINE = {"HF_HUB_OFFLINE": "1"}


def set_environment(cell: Cell) -> None:
    """Set what is not set, for this process and the engine's (docs/engines.md lists it)."""
    options = cell.engine
    assert isinstance(options, Options)
    wanted = dict(_ALWAYS)
    if not cell.hardware.num_gpus:
        wanted |= _ON_CPU
    if options.checkpoint is None or os.path.isdir(options.checkpoint):  # noqa: PTH112 - a hub name is no path
        wanted |= _OFFLINE
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
