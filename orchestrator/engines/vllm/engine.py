"""The engine of a cell on ``AsyncLLM``: token ids in, token ids and their times out."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.engines.vllm.arguments import engine_arguments, set_environment
from orchestrator.engines.vllm.checkpoint import UnknownArchitecture
from orchestrator.engines.vllm.core import Core
from orchestrator.engines.vllm.core_start import devices, provenance
from orchestrator.engines.vllm.errors import raised_by
from orchestrator.engines.vllm.iteration_log import IterationFile
from orchestrator.engines.vllm.options import Options
from orchestrator.errors import CellError, InfrastructureError
from orchestrator.serving.engine import EngineStart, due_s
from orchestrator.spec.cell import Cell
from workflows.prompt_tokens import prompt_token_ids
from workflows.request import Completion, Request, Segment

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM
import math

from orchestrator.engines.vllm.iteration_log import Admission

_RESET_LIMIT_S = 10.0
_WARM_UP = ((16, 2), (16, 2), (64, 8))
"""Prompt and output tokens of the requests before the first cell."""


class VllmEngine:
    """Answers requests with vLLM in processes of its own. Times are those of ``time.monotonic``."""

    def __init__(self, cell: Cell) -> None:
        assert isinstance(cell.engine, Options)
        self._cell = cell
        self._options = cell.engine
        self._origin_s = 0.0
        self._core = Core()
        self._llm: AsyncLLM | None = None
        self._iterations = IterationFile(self._core.iterations_path)
        self._in_flight: set[str] = set()
        self._n_arrived = 0

    async def start(self) -> EngineStart:
        """Load the model and warm it up.

        Raises:
            CellError: vLLM refuses an argument, the model, or the memory.
            InfrastructureError: vLLM is not installed here, its files cannot be written, or its processes were lost.
        """
        set_environment(self._cell)
        self._llm = await self._core.start(self._prepared())
        await asyncio.gather(*(self.generate(_warm_up(*sizes)) for sizes in enumerate(_WARM_UP)))
        return EngineStart(
            provenance=provenance(self._cell, self._llm.vllm_config),
            devices=devices(self._cell),
            pids=self._core.pids,
        )

    def _prepared(self) -> dict[str, Any]:
        """The arguments, once the files that vLLM needs are there."""
        try:
            self._core.prepare()
            self._iterations.clear()
            return engine_arguments(self._cell)
        except UnknownArchitecture as error:
            raise CellError(str(error)) from error
        except OSError as error:
            raise InfrastructureError(f"the files for vLLM cannot be written on this node: {error}") from error

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Nothing in flight, nothing cached, no iterations.

        Raises:
            InfrastructureError: the engine was lost, or blocks of the cache stay in use.
        """
        llm = self._running()
        self._cell, self._origin_s = cell, origin_s
        try:
            if self._in_flight:
                await llm.abort(list(self._in_flight))
                self._in_flight.clear()
            await self._reset(llm)
        except Exception as error:  # vLLM raises whatever it likes
            raise await self._lost(error) from error
        self._iterations.clear()

    async def _reset(self, llm: "AsyncLLM") -> None:
        deadline_s = time.monotonic() + _RESET_LIMIT_S
        while not await llm.reset_prefix_cache():
            if time.monotonic() > deadline_s:
                raise InfrastructureError(f"vLLM's prefix cache is still in use {_RESET_LIMIT_S:g} s after the cell")
            await asyncio.sleep(0.05)

    async def generate(self, request: Request) -> Completion:
        """Answer one request.

        Raises:
            CellError: vLLM refuses it, or it is longer than the context.
            InfrastructureError: the engine was lost, or ended the request early.
        """
        llm, parameters = self._running(), self._parameters(request)
        token_ids = prompt_token_ids(request, self._cell.model.vocab_size)
        self._in_flight.add(request.request_id)
        stream = Stream(request.request_id, time.monotonic())
        try:
            async for output in llm.generate(
                {"prompt_token_ids": token_ids}, parameters, request.request_id, priority=self._priority(request)
            ):
                self._n_arrived += stream.take(output, time.monotonic())
        except Exception as error:  # vLLM raises whatever it likes
            raise await self._failed(request, error) from error
        finally:
            self._in_flight.discard(request.request_id)
        if stream.n_tokens != request.output_tokens and not (self._options.natural_stops and stream.stopped):
            raise InfrastructureError(
                f"request {request.request_id}: vLLM ended it after {stream.n_tokens} of {request.output_tokens} "
                f"tokens ({stream.finish_reason})"
            )
        return stream.completion(self._iterations.admission(request.request_id))

    async def series(self) -> dict[str, pa.Table]:
        """Iterations since `begin`, and what each request had in them."""
        return await asyncio.to_thread(self._iterations.series, self._origin_s)

    def progress(self) -> int:
        """Tokens that have arrived since the start."""
        return self._n_arrived

    def trouble(self) -> str | None:
        """What became of vLLM's processes; None while all of them run."""
        return self._core.trouble()

    async def close(self) -> None:
        """End vLLM's processes; afterwards none is left."""
        self._llm = None
        await self._core.close()

    def _running(self) -> "AsyncLLM":
        if self._llm is None:
            raise InfrastructureError("vLLM was not started, or is closed")
        return self._llm

    def _parameters(self, request: Request) -> "SamplingParams":
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        n_prompt, n_output, limit = request.prompt_tokens, request.output_tokens, self._cell.model.max_model_len
        if n_prompt < 1 or n_output < 1 or n_prompt + n_output > limit:
            raise CellError(
                f"request {request.request_id}: {n_prompt} prompt and {n_output} output tokens; both must be at least "
                f"1, and their sum at most max_model_len {limit} of {self._cell.model.name}"
            )
        return SamplingParams(
            temperature=0.0,
            max_tokens=n_output,
            ignore_eos=not self._options.natural_stops,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    def _priority(self, request: Request) -> int:
        """What vLLM orders waiting requests by, the lowest first."""
        if self._options.scheduling_policy == "workflow":
            return round(1e3 * (due_s(request) - self._origin_s))
        return request.priority if self._options.scheduling_policy == "priority" else 0

    async def _failed(self, request: Request, error: Exception) -> CellError | InfrastructureError:
        if isinstance(error, ValueError):  # vLLM's own errors of validation among them
            return CellError(f"request {request.request_id}: vLLM refuses it: {raised_by(error).message}")
        return await self._lost(error)

    async def _lost(self, error: Exception) -> InfrastructureError:
        from vllm.v1.engine.exceptions import EngineDeadError

        if isinstance(error, InfrastructureError):
            return error
        if isinstance(error, EngineDeadError):
            return await self._core.lost()
        return InfrastructureError(f"vLLM failed: {raised_by(error.__cause__ or error)}")


def _warm_up(number: int, sizes: tuple[int, int]) -> Request:
    n_prompt, n_output = sizes
    return Request(
        request_id=f"warm-up-{number}",
        workflow_id="warm-up",
        tenant="warm-up",
        step="warm-up",
        role="warm-up",
        prompt=(Segment("warm-up", n_prompt),),
        output_tokens=n_output,
    )


class Stream:
    """Token ids, and when each of them was here. Times are those of ``time.monotonic``."""

    def __init__(self, request_id: str, submitted_s: float) -> None:
        self.finish_reason: str | None = None
        self._request_id = request_id
        self._submitted_s = submitted_s
        self._cached_tokens = 0
        self._ids: list[int] = []
        self._times_s: list[float] = []

    @property
    def n_tokens(self) -> int:
        """Tokens so far."""
        return len(self._ids)

    @property
    def stopped(self) -> bool:
        """Whether the model ended it, after at least one token."""
        return self.finish_reason == "stop" and self.n_tokens > 0

    def take(self, output: Any, now_s: float) -> int:
        """Add what has arrived, a ``RequestOutput`` with the tokens since the last; tells how many they are."""
        part = output.outputs[0]
        self._ids.extend(part.token_ids)
        self._times_s.extend([now_s] * len(part.token_ids))
        self._cached_tokens = output.num_cached_tokens or 0
        self.finish_reason = part.finish_reason
        return len(part.token_ids)

    def completion(self, admission: Admission | None) -> Completion:
        """The answer as a whole; ``admission`` is what the scheduler recorded of it."""
        return Completion(
            request_id=self._request_id,
            output_tokens=self.n_tokens,
            cached_tokens=self._cached_tokens,
            n_preemptions=None if admission is None else admission.n_preemptions,
            submitted_s=self._submitted_s,
            scheduled_s=math.nan if admission is None else admission.scheduled_s,
            first_token_s=self._times_s[0],
            finished_s=self._times_s[-1],
            token_ids=tuple(self._ids),
            token_times_s=tuple(self._times_s),
        )
