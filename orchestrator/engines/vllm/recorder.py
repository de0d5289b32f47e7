"""Writes a record for each iteration of a scheduler of vLLM, inside the engine core; does not import vLLM."""

import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.engines.vllm.iteration_record import encode

FILE_VARIABLE = "JOULEGRID_ITERATIONS_FILE"
"""The environment variable of the engine core that names the file."""


class SchedulerRequest(Protocol):
    """The fields of vLLM's request object that are read."""

    num_computed_tokens: int
    num_preemptions: int
    is_prefill_chunk: bool


@dataclass(slots=True)
class _KnownRequest:
    """A request that has been scheduled at least once."""

    number: int
    n_preemptions: int
    decoding: bool = False


@dataclass(slots=True)
class _PlannedIteration:
    """An iteration that is scheduled but not finished."""

    start_ns: int
    n_waiting: int
    kv_usage_ratio: float
    members: list[tuple[str, int, int, int]] = field(default_factory=list)
    named: list[tuple[int, str]] = field(default_factory=list)
    preempted: list[int] = field(default_factory=list)


class Recorder:
    """Writes one record per iteration with one unbuffered write, so that the file holds all returned tokens.

    With asynchronous scheduling an iteration is planned while the previous one runs; it starts when that one ends.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._known: dict[str, _KnownRequest] = {}
        self._planned: dict[int, _PlannedIteration] = {}
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
        """Note a planned iteration.

        Args:
            key: identifies the iteration until `finished`.
            start_ns: when the scheduler began to plan it. Units: ns, CLOCK_MONOTONIC.
            tokens: the number of tokens scheduled for each request.
            requests: the scheduler's requests, with these tokens already counted as computed.
            state: the number of waiting requests, and the used share of the KV cache.
            finished: ids of requests that have finished.
        """
        began_ns = time.monotonic_ns()
        for request_id in finished:
            self._known.pop(request_id, None)
        if tokens:
            planned = _PlannedIteration(start_ns, *state)
            for request_id, n_tokens in tokens.items():
                self._add_member(planned, request_id, n_tokens, requests[request_id])
            self._planned[key] = planned
        self._cost_ns += time.monotonic_ns() - began_ns

    def _add_member(
        self, planned: _PlannedIteration, request_id: str, n_tokens: int, request: SchedulerRequest
    ) -> None:
        known = self._known.get(request_id)
        if known is None:
            known = self._known[request_id] = _KnownRequest(self._n_named, request.num_preemptions)
            planned.named.append((known.number, request_id))
            self._n_named += 1
        elif known.n_preemptions != request.num_preemptions:
            planned.preempted += [known.number] * (request.num_preemptions - known.n_preemptions)
            known.n_preemptions, known.decoding = request.num_preemptions, False
        prefill_tokens = 0 if known.decoding else n_tokens
        known.decoding = not request.is_prefill_chunk
        planned.members.append((request_id, known.number, prefill_tokens, request.num_computed_tokens - n_tokens))

    def finished(self, key: int, sampled: Iterable[tuple[str, int]]) -> None:
        """Write the record of iteration ``key``; ``sampled`` are the sampled tokens of each request."""
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
        write_began_ns = time.monotonic_ns()
        os.write(self._file, record)
        self._cost_ns = time.monotonic_ns() - write_began_ns  # counted in the next record
