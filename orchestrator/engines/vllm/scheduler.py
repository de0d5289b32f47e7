"""vLLM's two schedulers, recording: loaded by the engine core under their names, in a process of its own."""

import os
import time
from collections.abc import Iterator
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from orchestrator.engines.vllm.recorder import FILE_VARIABLE, Recorder

OF_VLLM = {Scheduler: "RecordingScheduler", AsyncScheduler: "RecordingAsyncScheduler"}
"""For each scheduler vLLM may choose, the one here that records what it does."""


class RecordingScheduler(Scheduler):  # type: ignore[misc]
    """Each iteration on its own: planned, run, and only then the next one planned."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recorder = Recorder(os.environ[FILE_VARIABLE])

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """Plan an iteration."""
        start_ns = time.monotonic_ns()
        output = super().schedule(*args, **kwargs)
        _note(self._recorder, self, output, start_ns)
        return output

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """Take in what the model sampled."""
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        self._recorder.finished(id(scheduler_output), _sampled(outputs))
        return outputs


class RecordingAsyncScheduler(RecordingScheduler, AsyncScheduler):  # type: ignore[misc]
    """The next iteration is planned while one runs: vLLM's own `AsyncScheduler` is a `Scheduler`, too."""


def _note(recorder: Recorder, scheduler: Scheduler, output: Any, start_ns: int) -> None:
    recorder.scheduled(
        id(output),
        start_ns=start_ns,
        tokens=output.num_scheduled_tokens,
        requests=scheduler.requests,
        state=(scheduler.get_request_counts()[1], scheduler.kv_cache_manager.usage),
        finished=output.finished_req_ids,
    )


def _sampled(outputs: Any) -> Iterator[tuple[str, int]]:
    """Tokens that came out for each request, over all of the engine's clients."""
    for of_client in outputs.values():
        for output in of_client.outputs:
            yield output.request_id, len(output.new_token_ids)
