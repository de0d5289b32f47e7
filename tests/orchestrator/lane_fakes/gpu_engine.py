"""An engine on fake GPUs: it records the memory in use and holds memory until its process ends."""

import ctypes
import json
import os
from typing import ClassVar

from collectors.nvml_devices import Nvml
from lane_fakes import engine
from lane_fakes.engine import FaultyEngine
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.cell import Cell
from workflows.clock import Clock

HELD_BYTES = 5 << 30


class Options(engine.Options):
    """Those of the faulty engine, on GPUs."""

    uses_gpus: ClassVar[bool] = True


def check(cell: Cell) -> None:
    pass


def build(cell: Cell, clock: Clock) -> "GpuEngine":
    return GpuEngine(cell)


class GpuEngine(FaultyEngine):
    async def start(self) -> EngineStart:
        import ray

        start = await super().start()
        (index,) = (int(each) for each in ray.get_gpu_ids())
        with Nvml() as nvml:
            (gpu,) = nvml.resolve([index])
            usage = {"uuid": gpu.uuid, "used_bytes": nvml.memory_used_bytes(gpu.uuid)}
            with (self._scratch / "gpus").open("a") as file:
                file.write(json.dumps({**usage, "visible": os.environ["CUDA_VISIBLE_DEVICES"]}) + "\n")
            ctypes.CDLL("libnvidia-ml.so.1").fake_nvml_hold_memory(index, ctypes.c_ulonglong(HELD_BYTES))
        return start
