"""The engine of a cell on vLLM's ``AsyncLLM``: token ids in, token ids and their arrival times out."""

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.engines.vllm.arguments import engine_arguments, set_environment
from orchestrator.engines.vllm.checkpoint import UnknownArchitecture
from orchestrator.engines.vllm.core import Core
from orchestrator.engines.vllm.core_start import devices, provenance
from orchestrator.engines.vllm.errors import exception_info
from orchestrator.engines.vllm.iteration_log import Admission, IterationFile
from orchestrator.engines.vllm.options import Options
from orchestrator.errors import CellError, InfrastructureError
from orchestrator.serving.engine import EngineStart, due_s
from orchestrator.spec.cell import Cell
from workflows.request import Completion, Request, Segment, prompt_token_ids

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

_RESET_TIMEOUT_S = 10.0
_WARM_UP = ((16, 2), (16, 2), (64, 8))
"""Prompt and output tokens of the warm-up requests before the first cell."""


class VllmEngine:
    """Serves requests with vLLM in separate processes. Times: s, CLOCK_MONOTONIC."""

    def __init__(self, cell: Cell) -> None:
        assert isinstance(cell.engine, Options)
        self._cell = cell
        self._options = cell.engine
        self._origin_s = 0.0
        self._core = Core()
        self._llm: AsyncLLM | None = None
        self._iterations = IterationFile(self._core.iterations_path)
        self._in_flight: set[str] = set()
        self._n_tokens = 0

    async def start(self) -> EngineStart:
        """Load the model and warm it up.

        Raises:
            CellError: vLLM refuses an argument, the model, or the memory.
            InfrastructureError: vLLM is not installed, its files cannot be written, or its processes were lost.
        """
        set_environment(self._cell)
        self._llm = await self._core.start(self._prepare())
        await asyncio.gather(*(self.generate(_warm_up_request(*sizes)) for sizes in enumerate(_WARM_UP)))
        return EngineStart(
            provenance=provenance(self._cell, self._llm.vllm_config),
            devices=devices(self._cell),
            pids=self._core.pids,
        )

    def _prepare(self) -> dict[str, Any]:
        """Write the files that vLLM needs and return its arguments."""
        try:
            self._core.prepare()
            self._iterations.clear()
            return engine_arguments(self._cell)
        except UnknownArchitecture as error:
            raise CellError(str(error)) from error
        except OSError as error:
            raise InfrastructureError(f"the files for vLLM cannot be written on this node: {error}") from error

    async def begin(self, cell: Cell, origin_s: float) -> None:
        """Abort requests in flight, reset the prefix cache and clear the iteration records.

        Raises:
            InfrastructureError: the engine was lost, or blocks of the prefix cache remain in use.
        """
        llm = self._running()
        self._cell, self._origin_s = cell, origin_s
        try:
            if self._in_flight:
                await llm.abort(list(self._in_flight))
                self._in_flight.clear()
            await _reset_prefix_cache(llm)
        except Exception as error:  # vLLM raises exceptions of any class
            raise await self._loss_error(error) from error
        self._iterations.clear()

    async def generate(self, request: Request) -> Completion:
        """Return the completion of one request.

        Raises:
            CellError: vLLM refuses the request, or it is longer than the context.
            InfrastructureError: the engine was lost, or ended the request early.
        """
        llm, parameters = self._running(), self._parameters(request)
        token_ids = prompt_token_ids(request, self._cell.model.vocab_size)
        self._in_flight.add(request.request_id)
        stream = TokenStream(request.request_id, time.monotonic())
        try:
            async for output in llm.generate(
                {"prompt_token_ids": token_ids}, parameters, request.request_id, priority=self._priority(request)
            ):
                self._n_tokens += stream.add(output, time.monotonic())
        except Exception as error:  # vLLM raises exceptions of any class
            raise await self._request_error(request, error) from error
        finally:
            self._in_flight.discard(request.request_id)
        may_stop = self._options.natural_stops and stream.stopped
        if stream.n_tokens != request.output_tokens and not may_stop:
            raise InfrastructureError(
                f"request {request.request_id}: vLLM ended it after {stream.n_tokens} of {request.output_tokens} "
                f"tokens ({stream.finish_reason})"
            )
        return stream.completion(self._iterations.admission(request.request_id))

    async def series(self) -> dict[str, pa.Table]:
        """Return the iterations since `begin`, and the tokens of each request in them."""
        return await asyncio.to_thread(self._iterations.series, self._origin_s)

    def progress(self) -> int:
        """Return the number of tokens that have arrived since the start."""
        return self._n_tokens

    def trouble(self) -> str | None:
        """Return why vLLM's processes cannot continue; None while all of them run."""
        return self._core.trouble()

    async def close(self) -> None:
        """End all processes of vLLM."""
        self._llm = None
        await self._core.close()

    def _running(self) -> "AsyncLLM":
        if self._llm is None:
            raise InfrastructureError("vLLM was not started or is closed")
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
        """Return the priority by which vLLM orders waiting requests, the lowest first."""
        if self._options.scheduling_policy == "workflow":
            return round(1e3 * (due_s(request) - self._origin_s))
        return request.priority if self._options.scheduling_policy == "priority" else 0

    async def _request_error(self, request: Request, error: Exception) -> CellError | InfrastructureError:
        if isinstance(error, ValueError):  # includes vLLM's validation errors
            return CellError(f"request {request.request_id}: vLLM refuses the request: {exception_info(error).message}")
        return await self._loss_error(error)

    async def _loss_error(self, error: Exception) -> InfrastructureError:
        from vllm.v1.engine.exceptions import EngineDeadError

        if isinstance(error, InfrastructureError):
            return error
        if isinstance(error, EngineDeadError):
            return await self._core.loss_error()
        return InfrastructureError(f"vLLM failed: {exception_info(error.__cause__ or error)}")


async def _reset_prefix_cache(llm: "AsyncLLM") -> None:
    deadline_s = time.monotonic() + _RESET_TIMEOUT_S
    while not await llm.reset_prefix_cache():
        if time.monotonic() > deadline_s:
            raise InfrastructureError(f"vLLM's prefix cache is still in use {_RESET_TIMEOUT_S:g} s after the cell")
        await asyncio.sleep(0.05)


def _warm_up_request(number: int, sizes: tuple[int, int]) -> Request:
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


@dataclass(slots=True)
class TokenStream:
    """The token ids of a request and their arrival times. Units: s, CLOCK_MONOTONIC."""

    request_id: str
    submitted_s: float
    finish_reason: str | None = None
    _cached_tokens: int = 0
    _ids: list[int] = field(default_factory=list)
    _times_s: list[float] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        """Tokens so far."""
        return len(self._ids)

    @property
    def stopped(self) -> bool:
        """Whether the model ended the request, after at least one token."""
        return self.finish_reason == "stop" and self.n_tokens > 0

    def add(self, output: Any, now_s: float) -> int:
        """Add the new tokens of a ``RequestOutput`` and return their number."""
        delta = output.outputs[0]
        self._ids.extend(delta.token_ids)
        self._times_s.extend([now_s] * len(delta.token_ids))
        self._cached_tokens = output.num_cached_tokens or 0
        self.finish_reason = delta.finish_reason
        return len(delta.token_ids)

    def completion(self, admission: Admission | None) -> Completion:
        """Return the completion of the request; ``admission`` is the scheduler's record of it, if there is one."""
        return Completion(
            request_id=self.request_id,
            output_tokens=self.n_tokens,
            cached_tokens=self._cached_tokens,
            n_preemptions=None if admission is None else admission.n_preemptions,
            submitted_s=self.submitted_s,
            scheduled_s=math.nan if admission is None else admission.scheduled_s,
            first_token_s=self._times_s[0],
            finished_s=self._times_s[-1],
            token_ids=tuple(self._ids),
            token_times_s=tuple(self._times_s),
        )
