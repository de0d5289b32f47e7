"""The event loop of the simulated engine: it schedules runs of equal iterations and completes requests."""

import asyncio
from typing import Literal

from orchestrator.costmodel.cost import CONTEXT_BUCKET_TOKENS, CostModel
from orchestrator.costmodel.work import Batch
from orchestrator.engines.simulated.kv_cache import KvCache
from orchestrator.engines.simulated.log import IterationLog, Run, ScheduledLog
from orchestrator.engines.simulated.scheduler import Scheduler, Step
from orchestrator.engines.simulated.sequence import Sequence
from orchestrator.spec.engine import EngineOptions
from workflows.clock import Clock

Stepping = Literal["closed_form", "step_by_step"]


class EngineCore:
    """Continuous batching on a clock, virtual or real.

    It schedules only when all events of an instant have been processed, so that it sees all requests of that instant
    together. While a run is in flight, one timer is set to its end. A request that arrives earlier shortens the run to
    the end of the iteration in flight.
    """

    def __init__(
        self,
        options: EngineOptions,
        costs: CostModel,
        cache: KvCache,
        clock: Clock,
        stepping: Stepping,
        *,
        origin_s: float,
        record_scheduled: bool = False,
    ) -> None:
        self.log = IterationLog(cache, origin_s=origin_s)
        self.scheduled = ScheduledLog() if record_scheduled else None
        self._costs = costs
        self._clock = clock
        self._max_run_length = CONTEXT_BUCKET_TOKENS if stepping == "closed_form" else 1
        self._scheduler = Scheduler(options, cache)
        self._run: Run | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._decision_pending = False
        self._last_end_s = clock.now_s()
        self._last_arrival_s = clock.now_s()
        self._cancelled: list[Sequence] = []

    def add(self, sequence: Sequence) -> None:
        """Add a request that arrives now."""
        self._scheduler.queue.add(sequence)
        self._last_arrival_s = sequence.submitted_s
        self._interrupt()

    def drop(self, sequence: Sequence) -> None:
        """Cancel a request; it leaves at the end of the iteration in flight."""
        self._cancelled.append(sequence)
        self._interrupt()

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _interrupt(self) -> None:
        if self._run is None:
            self._decide_when_settled()
        elif self._run.cut(self._clock.now_s()):
            self._set_timer(self._run)

    def _decide_when_settled(self) -> None:
        if not self._decision_pending:
            self._decision_pending = True
            self._clock.call_when_settled(self._decide)

    def _decide(self) -> None:
        self._decision_pending = False
        for sequence in self._cancelled:
            if not sequence.ended:
                self._scheduler.drop(sequence)
        self._cancelled.clear()
        if self._scheduler.has_work:
            # On a real clock this callback is late; the next run starts at the end of the last one all the same.
            start_s = max(self._last_end_s, self._last_arrival_s)
            self._run = self._plan(self._scheduler.schedule(), start_s)
            self._set_timer(self._run)

    def _plan(self, step: Step, start_s: float) -> Run:
        context_tokens = self._scheduler.decoding.context_tokens if step.n_decoding else 0
        if not step.chunks:
            cost = self._costs.decode_cost(step.n_decoding, context_tokens)
            limit = 1 if step.preempted else self._iterations_in_bucket(step.n_decoding, context_tokens)
            n_iterations = self._scheduler.run_length(min(limit, self._max_run_length))
        else:
            batch = _mixed_batch(step, context_tokens)
            cost, context_tokens, n_iterations = self._costs.cost(batch), batch.context_tokens, 1
        for chunk in step.chunks:
            if chunk.sequence.scheduled_s is None:
                chunk.sequence.scheduled_s = start_s
        return Run(start_s=start_s, step=step, cost=cost, n_iterations=n_iterations, context_tokens=context_tokens)

    def _iterations_in_bucket(self, n_decoding: int, context_tokens: int) -> int:
        """Return the iterations until the mean context, which grows by one in each, leaves its bucket."""
        per_bucket = n_decoding * CONTEXT_BUCKET_TOKENS
        return -(-(per_bucket - context_tokens % per_bucket) // n_decoding)

    def _set_timer(self, run: Run) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_at(run.end_s, self._complete)

    def _complete(self) -> None:
        run, self._run = self._run, None
        assert run is not None
        end_s = self._last_end_s = run.end_s
        run.charge(self._scheduler.decoding)
        if self.scheduled is not None:
            self.scheduled.add(len(self.log), run, self._scheduler.decoding)
        n_continued = run.step.n_decoding * run.n_iterations
        for chunk in run.step.chunks:
            if not chunk.samples:
                continue
            if chunk.sequence.first_token_s is None:
                chunk.sequence.first_token_s = end_s
            else:
                n_continued += 1
        ended = self._scheduler.complete(run.step, run.n_iterations)
        self.log.add(run, n_continued)
        self._scheduler.free(ended)
        for sequence in ended:
            sequence.finished_s = end_s
            if not sequence.done.done():
                sequence.done.set_result(sequence.completion())
        self._decide_when_settled()


def _mixed_batch(step: Step, decode_context_tokens: int) -> Batch:
    prefill_pairs = sum(chunk.n_pairs for chunk in step.chunks)
    return Batch(
        n_tokens=step.n_decoding + sum(chunk.n_tokens for chunk in step.chunks),
        n_sampled=step.n_decoding + sum(chunk.samples for chunk in step.chunks),
        context_tokens=decode_context_tokens + sum(chunk.end for chunk in step.chunks),
        n_pairs=decode_context_tokens + prefill_pairs,
        prefill_pairs=prefill_pairs,
        has_prefill=True,
    )
