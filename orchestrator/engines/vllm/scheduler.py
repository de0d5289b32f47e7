"""Recording subclasses of vLLM's schedulers; the engine core imports them by name. This module imports vLLM."""

import os
import time
from collections.abc import Iterator
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from orchestrator.engines.vllm.recorder import FILE_VARIABLE, Recorder

RECORDING_CLASSES = {Scheduler: "RecordingScheduler", AsyncScheduler: "RecordingAsyncScheduler"}
"""For each scheduler that vLLM may select, the name of its recording subclass."""


class RecordingScheduler(Scheduler):  # type: ignore[misc]
    """Records iterations that run one after the other."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recorder = Recorder(os.environ[FILE_VARIABLE])

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """Plan an iteration and note it."""
        start_ns = time.monotonic_ns()
        output = super().schedule(*args, **kwargs)
        self._recorder.scheduled(
            id(output),
            start_ns=start_ns,
            tokens=output.num_scheduled_tokens,
            requests=self.requests,
            state=(self.get_request_counts()[1], self.kv_cache_manager.usage),
            finished=output.finished_req_ids,
        )
        return output

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """Process the sampled tokens of an iteration and write its record."""
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        self._recorder.finished(id(scheduler_output), _sampled_tokens(outputs))
        return outputs


class RecordingAsyncScheduler(RecordingScheduler, AsyncScheduler):  # type: ignore[misc]
    """Records iterations that are planned while the previous one runs; vLLM's `AsyncScheduler` is a `Scheduler`."""


def _sampled_tokens(outputs: Any) -> Iterator[tuple[str, int]]:
    """Yield the number of sampled tokens of each request, over all clients of the engine."""
    for client_outputs in outputs.values():
        for output in client_outputs.outputs:
            yield output.request_id, len(output.new_token_ids)
