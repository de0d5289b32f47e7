"""The driven engine: behaves like a real engine, on fake GPUs.

It answers requests in real time as the simulated engine does. During an iteration the fake GPU has the power, clock,
memory, process and utilization of the cost model; between iterations it rests. The engine reads limits and clocks from
the GPU before every iteration, so a cap or a lock acts however it was set, and a cap that does not bind has no effect.
The engine reports no energy; `truth.py` has the true values, for tests only.

A sweep on it (`run_driven` in `driven_sweep.py`), with GPUs from the fixture `make_fake_gpus`:

    machine = make_fake_gpus([SENSED_H100] * 2)
    ended = run_driven(tmp_path, machine, "-m", "hardware.power_limit_w=300,500", "load.users=4")
    truth = Truth.of_cell(machine, cell_id)

The same from a shell, with `machine.variables` in the environment:

    python -m orchestrator --config-dir tests/fake_nvml/conf engine=driven hardware=h100_sxm -m load.users=4 …

After a kill of its process its memory is free, and the GPU still draws the power of rest with a context.
In this process (`executor=inline` under `machine.load(monkeypatch)`) it takes the first GPUs.
"""

import asyncio
import os
import time
from dataclasses import replace
from typing import ClassVar, Literal

import pyarrow as pa

from orchestrator.costmodel.memory import kv_capacity_blocks
from orchestrator.engines import simulated
from orchestrator.engines.simulated.core import Stepping
from orchestrator.engines.simulated.engine import SimulatedEngine
from orchestrator.engines.simulated.kv_cache import KvCache
from orchestrator.serving.engine import Engine, EngineStart
from orchestrator.spec.cell import Cell
from tests.fake_nvml.driven_core import DrivenCore
from tests.fake_nvml.driven_gpus import DrivenGpus, visible_gpus
from tests.fake_nvml.fake_gpus import FakeGpus
from tests.fake_nvml.troubles import Trouble, begin_trouble, end_trouble
from tests.fake_nvml.truth import RequestEnergy, Truth
from workflows.clock import Clock, sleep_until
from workflows.request import Completion, Request

NOT_REPORTED = ("sm_clock_mhz", "power_capped", "energy_j", "prefill_energy_j", "decode_energy_j")


class Options(simulated.Options):
    """`load_s` is the duration of the start, `context_w` the power of a GPU with a context above bare idle.

    With `throttles_at_c` a GPU that warms (`FakeGpu.warm`) has a low clock while it is hotter than that.
    """

    simulated: ClassVar[bool] = False
    uses_gpus: ClassVar[bool] = True

    kind: str
    clock: Literal["wall"] = "wall"
    stepping: Stepping = "step_by_step"
    record_scheduled: bool = True
    load_s: float = 0.2
    context_w: float = 30.0
    throttles_at_c: float | None = None
    trouble: Trouble = "none"
    trouble_at_s: float = 0.0
    trouble_for_s: float | None = None


def check(cell: Cell) -> None:
    simulated.check(cell)


def build(cell: Cell, clock: Clock) -> Engine:
    return DrivenEngine(cell, clock)


class DrivenEngine(SimulatedEngine):
    """Runs on the GPUs that CUDA_VISIBLE_DEVICES names, by default on the first."""

    def __init__(self, cell: Cell, clock: Clock) -> None:
        super().__init__(cell, clock)
        self._machine = FakeGpus.of_environment()
        gpus = visible_gpus(self._machine, cell.engine.tensor_parallel_size)
        options = _options(cell)
        self._gpus = DrivenGpus(gpus, cell.gpu, context_w=options.context_w, throttles_at_c=options.throttles_at_c)
        self._energies: dict[str, RequestEnergy] = {}
        self._origin_s = clock.now_s()
        self._trouble: Trouble = "none"

    async def start(self) -> EngineStart:
        """Take the memory and let the GPUs work a little."""
        options = _options(self._cell)
        self._gpus.load(os.getpid(), options.gpu_memory_utilization, options.load_s)
        await asyncio.sleep(options.load_s)
        return EngineStart(provenance={"driven": "1"}, devices=self._gpus.uuids, pids=(os.getpid(),))

    async def begin(self, cell: Cell, origin_s: float) -> None:
        self._core.close()
        self._cell, self._origin_s, options = cell, origin_s, _options(cell)
        cache = KvCache(kv_capacity_blocks(cell), options.block_size, prefix_caching=options.enable_prefix_caching)
        self._core = DrivenCore(cell, cache, self._clock, self._gpus, origin_s=origin_s)
        self._capacity_tokens = cache.n_blocks * cache.block_size
        self._energies = {}
        self._end_trouble()
        from_ns = time.monotonic_ns() + round(options.trouble_at_s * 1e9)
        until_ns = 0 if options.trouble_for_s is None else from_ns + round(options.trouble_for_s * 1e9)
        self._trouble = options.trouble
        begin_trouble(self._gpus, self._trouble, from_ns, until_ns)

    async def generate(self, request: Request) -> Completion:
        """Answer when the last iteration ends; the simulated engine answers a little earlier."""
        completion = await super().generate(request)
        await sleep_until(self._clock, completion.finished_s)
        assert completion.prefill_energy_j is not None
        assert completion.decode_energy_j is not None
        self._energies[completion.request_id] = RequestEnergy(completion.prefill_energy_j, completion.decode_energy_j)
        return replace(completion, prefill_energy_j=None, decode_energy_j=None)

    async def series(self) -> dict[str, pa.Table]:
        """Return the series that vLLM gives: scheduled requests of each iteration, and no energies."""
        series = await super().series()
        iterations = series["iterations"]
        Truth.of_iterations(self._gpus.uuids, self._origin_s, iterations, self._energies).write(
            self._machine, self._cell.cell_id
        )
        return {**series, "iterations": _without(iterations, NOT_REPORTED)}

    async def close(self) -> None:
        await super().close()
        self._end_trouble()
        self._gpus.leave(os.getpid())

    def _end_trouble(self) -> None:
        end_trouble(self._gpus, self._trouble)
        self._trouble = "none"


def _options(cell: Cell) -> Options:
    assert isinstance(cell.engine, Options)
    return cell.engine


def _without(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    for name in names:
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(at), pa.nulls(table.num_rows, table.schema.field(at).type))
    return table
