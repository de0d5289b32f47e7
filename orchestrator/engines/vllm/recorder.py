"""What a scheduler of vLLM's did in every iteration, written while it runs; no vLLM is needed to read this."""

import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.engines.vllm.iteration_record import encode

FILE_VARIABLE = "JOULEGRID_ITERATIONS_FILE"
"""Names the file in the environment of the engine core."""


class SchedulerRequest(Protocol):
    """What is read of vLLM's own record of a request."""

    num_computed_tokens: int
    num_preemptions: int
    is_prefill_chunk: bool


@dataclass(slots=True)
class _Known:
    """A request that has been scheduled."""

    number: int
    n_preemptions: int
    decoding: bool = False


@dataclass(slots=True)
class _Planned:
    """An iteration that is scheduled, and has not come back."""

    start_ns: int
    n_waiting: int
    kv_usage_ratio: float
    members: list[tuple[str, int, int, int]] = field(default_factory=list)
    named: list[tuple[int, str]] = field(default_factory=list)
    preempted: list[int] = field(default_factory=list)


class Recorder:
    """Writes a record an iteration, in one unbuffered write: what the engine has answered is in the file.

    With asynchronous scheduling an iteration is planned while the one before runs; it starts when that has ended.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._known: dict[str, _Known] = {}
        self._planned: dict[int, _Planned] = {}
        self._n_named = 0
        self._last_end_ns = 0
        self._cost_ns = 0

    def scheduled(
        self,
        key: int,
        *,
        start_ns: int,
        tokens: Mapping[str, int],
        requests: Mapping[str, SchedulerRequest],
        state: tuple[int, float],
        finished: Collection[str],
    ) -> None:
        """Note what an iteration will do.

        Args:
            key: names the iteration until it comes back.
            start_ns: when the scheduler began to plan it.
            tokens: scheduled for each request.
            requests: those the scheduler knows, already advanced by these tokens.
            state: requests that wait, and the share of the KV cache in use.
            finished: requests that are forgotten.
        """
        began_ns = time.monotonic_ns()
        for request_id in finished:
            self._known.pop(request_id, None)
        if tokens:
            planned = _Planned(start_ns, *state)
            for request_id, n_tokens in tokens.items():
                self._add(planned, request_id, n_tokens, requests[request_id])
            self._planned[key] = planned
        self._cost_ns += time.monotonic_ns() - began_ns

    def _add(self, planned: _Planned, request_id: str, n_tokens: int, request: SchedulerRequest) -> None:
        known = self._known.get(request_id)
        if known is None:
            known = self._known[request_id] = _Known(self._n_named, request.num_preemptions)
            planned.named.append((known.number, request_id))
            self._n_named += 1
        elif known.n_preemptions != request.num_preemptions:
            planned.preempted += [known.number] * (request.num_preemptions - known.n_preemptions)
            known.n_preemptions, known.decoding = request.num_preemptions, False
        prefill_tokens = 0 if known.decoding else n_tokens
        known.decoding = not request.is_prefill_chunk
        planned.members.append((request_id, known.number, prefill_tokens, request.num_computed_tokens - n_tokens))

    def finished(self, key: int, sampled: Iterable[tuple[str, int]]) -> None:
        """Write the iteration ``key``, of which ``sampled`` tells the tokens that came out for each request."""
        began_ns = time.monotonic_ns()
        planned = self._planned.pop(key, None)
        if planned is None:
            return
        decoded = dict(sampled)
        members: list[int] = []
        for request_id, number, prefill_tokens, context_tokens in planned.members:
            members += (number, prefill_tokens, decoded.get(request_id, 0), context_tokens)
        start_ns = max(planned.start_ns, self._last_end_ns)
        self._last_end_ns = began_ns
        cost_ns, self._cost_ns = self._cost_ns, 0
        record = encode(
            times_ns=(start_ns, began_ns, cost_ns + time.monotonic_ns() - began_ns),
            n_waiting=planned.n_waiting,
            kv_usage_ratio=planned.kv_usage_ratio,
            members=members,
            named=planned.named,
            preempted=planned.preempted,
        )
        written_from_ns = time.monotonic_ns()
        os.write(self._file, record)
        self._cost_ns = time.monotonic_ns() - written_from_ns  # told with the next record
