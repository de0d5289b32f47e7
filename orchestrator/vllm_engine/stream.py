"""One answer as it arrives."""

import math
from typing import Any

from orchestrator.vllm_engine.iteration_file import Admission
from workflows.request import Completion


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
