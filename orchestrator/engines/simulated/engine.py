"""The simulated engine: vLLM V1's scheduler in virtual time, with modelled step times and power. No GPU, no weights."""

import asyncio

import pyarrow as pa

from orchestrator import __version__
from orchestrator.costmodel.cost import CostModel
from orchestrator.costmodel.memory import kv_capacity_blocks
from orchestrator.engines.simulated.core import EngineCore
from orchestrator.engines.simulated.kv_cache import KvCache
from orchestrator.engines.simulated.options import Options
from orchestrator.engines.simulated.sequence import Sequence
from orchestrator.errors import CellError
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.cell import Cell
from workflows.clock import Clock
from workflows.request import Completion, Request


def _core(cell: Cell, clock: Clock, origin_s: float) -> tuple[EngineCore, int]:
    """The scheduler of a cell and how many tokens its cache holds."""
    assert isinstance(cell.engine, Options)
    options = cell.engine
    cache = KvCache(kv_capacity_blocks(cell), options.block_size, prefix_caching=options.enable_prefix_caching)
    costs = CostModel(cell.model, cell.gpu, options.tensor_parallel_size)
    core = EngineCore(
        options, costs, cache, clock, options.stepping, origin_s=origin_s, record_scheduled=options.record_scheduled
    )
    return core, cache.n_blocks * cache.block_size


class SimulatedEngine:
    """Answers requests in the time, and with the energy, that the model of the GPU gives."""

    def __init__(self, cell: Cell, clock: Clock) -> None:
        self._cell = cell
        self._clock = clock
        self._core, self._capacity_tokens = _core(cell, clock, clock.now_s())
        self._in_flight: set[str] = set()

    async def start(self) -> EngineStart:
        """Nothing is loaded."""
        return EngineStart(provenance={"simulator": __version__})

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """An empty cache and scheduler, under the power limit and clock of ``cell``."""
        self._core.close()
        self._cell = cell
        self._core, self._capacity_tokens = _core(cell, self._clock, origin_s)

    async def generate(self, request: Request) -> Completion:
        """Answer one request.

        Raises:
            CellError: the request is empty, too long for the model, the cache or the scheduler, or reads what another
                has not yet generated.
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
        """The runs of iterations that are complete, and what each request had in them if that is kept."""
        found = {"iterations": self._core.log.table()}
        if self._core.scheduled is not None:
            found["scheduled"] = self._core.scheduled.table()
        return found

    def progress(self) -> int:
        """Its own time, which passes whatever it does: many tokens may come of one step in closed form."""
        return round(self._clock.now_s() * 1e3)

    def trouble(self) -> None:
        """It has no process of its own."""
        return

    async def close(self) -> None:
        """Set no more timers."""
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
