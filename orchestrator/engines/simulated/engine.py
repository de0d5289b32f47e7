"""The simulated engine of a cell and its options: the engine contract around `EngineCore`."""

import asyncio
from typing import ClassVar, Literal

import pyarrow as pa

from orchestrator import __version__
from orchestrator.costmodel.cost import CostModel
from orchestrator.costmodel.memory import kv_capacity_blocks
from orchestrator.engines.simulated.core import EngineCore, Stepping
from orchestrator.engines.simulated.kv_cache import KvCache
from orchestrator.engines.simulated.sequence import Sequence
from orchestrator.errors import CellError
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.cell import Cell
from orchestrator.spec.engine import EngineOptions
from workflows.clock import Clock
from workflows.request import Completion, Request


class Options(EngineOptions):
    """Options of the simulated engine.

    ``stepping`` step_by_step plans every iteration separately: slower, with the same results up to rounding; for tests.
    ``record_scheduled`` keeps the series ``scheduled``, as a real engine does; slower, too.
    """

    simulated: ClassVar[bool] = True

    kind: Literal["simulated"]
    clock: Literal["virtual", "wall"] = "virtual"
    stepping: Stepping = "closed_form"
    record_scheduled: bool = False


class SimulatedEngine:
    """Serves requests with the times and energies that the model of the GPU gives."""

    def __init__(self, cell: Cell, clock: Clock) -> None:
        self._cell = cell
        self._clock = clock
        self._core, self._capacity_tokens = _new_core(cell, clock, clock.now_s())
        self._in_flight: set[str] = set()

    async def start(self) -> EngineStart:
        """Return the version of the simulator; nothing is loaded."""
        return EngineStart(provenance={"simulator": __version__})

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Begin with an empty cache and scheduler, under the power limit and SM clock of ``cell``."""
        self._core.close()
        self._cell = cell
        self._core, self._capacity_tokens = _new_core(cell, self._clock, origin_s)

    async def generate(self, request: Request) -> Completion:
        """Return the completion of one request.

        Raises:
            CellError: the request is empty, too long for the model, the cache or the scheduler, or its prompt contains
                an output that is not finished.
        """
        self._check(request)
        done: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        sequence = Sequence(request, self._cell.engine.block_size, self._clock.now_s(), done)
        self._in_flight.add(request.request_id)
        self._core.add(sequence)
        try:
            return await done
        except asyncio.CancelledError:
            self._core.drop(sequence)
            raise
        finally:
            self._in_flight.discard(request.request_id)

    async def series(self) -> dict[str, pa.Table]:
        """Return the complete runs of iterations, and with ``record_scheduled`` the tokens of each request in them."""
        series = {"iterations": self._core.log.table()}
        if self._core.scheduled is not None:
            series["scheduled"] = self._core.scheduled.table()
        return series

    def progress(self) -> int:
        """Return the time in ms, which always advances: one run of iterations may generate many tokens at once."""
        return round(self._clock.now_s() * 1e3)

    def trouble(self) -> None:
        """Return None: it has no separate process."""
        return

    async def close(self) -> None:
        """Cancel the timer."""
        self._core.close()

    def _check(self, request: Request) -> None:
        options, name = self._cell.engine, f"request {request.request_id}"
        n_prompt, n_output = request.prompt_tokens, request.output_tokens
        if n_prompt < 1 or n_output < 1:
            raise CellError(f"{name}: prompt and output must have at least 1 token, got {n_prompt} and {n_output}")
        if n_prompt + n_output > self._cell.model.max_model_len:
            raise CellError(
                f"{name}: {n_prompt} prompt and {n_output} output tokens exceed max_model_len "
                f"{self._cell.model.max_model_len} of {self._cell.model.name}"
            )
        if n_prompt + n_output > self._capacity_tokens:
            raise CellError(
                f"{name}: {n_prompt} prompt and {n_output} output tokens exceed the KV cache's {self._capacity_tokens}"
            )
        if not options.enable_chunked_prefill and n_prompt > options.max_num_batched_tokens:
            raise CellError(
                f"{name}: a prompt of {n_prompt} tokens exceeds max_num_batched_tokens "
                f"{options.max_num_batched_tokens}, and chunked prefill is off"
            )
        if request.request_id in self._in_flight:
            raise CellError(f"{name} is already in flight: request ids must be unique")
        for segment in request.prompt:
            if segment.content in self._in_flight:
                raise CellError(f"{name}: its prompt holds the output of {segment.content}, which is not finished")


def _new_core(cell: Cell, clock: Clock, origin_s: float) -> tuple[EngineCore, int]:
    """Return the core of a cell and the capacity of its KV cache. Units: tokens."""
    assert isinstance(cell.engine, Options)
    options = cell.engine
    cache = KvCache(kv_capacity_blocks(cell), options.block_size, prefix_caching=options.enable_prefix_caching)
    costs = CostModel(cell.model, cell.gpu, options.tensor_parallel_size)
    core = EngineCore(
        options, costs, cache, clock, options.stepping, origin_s=origin_s, record_scheduled=options.record_scheduled
    )
    return core, cache.n_blocks * cache.block_size
