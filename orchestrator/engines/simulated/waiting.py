"""Queues of waiting requests: which is admitted next, and which running one is preempted when KV blocks run out.

There is one queue per order of `EngineOptions.scheduling_policy`. The place of a request in an order is fixed when it
arrives. So the order cannot change during a run of equal iterations, and a heap can hold it.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Protocol

from orchestrator.engines.simulated.sequence import Sequence
from orchestrator.serving.engine import due_s
from orchestrator.spec.engine import SchedulingPolicy
from workflows.request import Request


class WaitingQueue(Protocol):
    """Requests that are not running, in the order of their admission."""

    def __len__(self) -> int: ...

    @property
    def head(self) -> Sequence:
        """The request to admit next; the queue must not be empty."""
        ...

    def add(self, sequence: Sequence) -> None:
        """Add a new request."""
        ...

    def put_back(self, sequence: Sequence) -> None:
        """Add a preempted request."""
        ...

    def remove(self, sequence: Sequence) -> None:
        """Remove an admitted or cancelled request."""
        ...

    def victim(self, running: dict[Sequence, None]) -> Sequence:
        """Return the running sequence to preempt."""
        ...


class FirstComeFirstServed:
    """Order by arrival; the sequence admitted last is preempted, and is admitted first afterwards."""

    def __init__(self) -> None:
        self._waiting: deque[Sequence] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def head(self) -> Sequence:
        """The request to admit next."""
        return self._waiting[0]

    def add(self, sequence: Sequence) -> None:
        """Add a new request."""
        self._waiting.append(sequence)

    def put_back(self, sequence: Sequence) -> None:
        """Add a preempted request at the front."""
        self._waiting.appendleft(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Remove an admitted or cancelled request."""
        self._waiting.remove(sequence)

    def victim(self, running: dict[Sequence, None]) -> Sequence:
        """Return the running sequence to preempt."""
        return next(reversed(running))


class Ranked:
    """Order by rank, lowest first, then by arrival; the last running sequence in it is preempted, as in vLLM."""

    def __init__(self, rank: Callable[[Request], float]) -> None:
        self._rank = rank
        self._waiting: list[tuple[float, int, Sequence]] = []
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def head(self) -> Sequence:
        """The request to admit next."""
        return self._waiting[0][2]

    def add(self, sequence: Sequence) -> None:
        """Add a new request."""
        sequence.queue_key = (self._rank(sequence.request), next(self._arrivals))
        self.put_back(sequence)

    def put_back(self, sequence: Sequence) -> None:
        """Add a preempted request at the place of its arrival."""
        heapq.heappush(self._waiting, (*sequence.queue_key, sequence))

    def remove(self, sequence: Sequence) -> None:
        """Remove an admitted or cancelled request."""
        if self.head is sequence:
            heapq.heappop(self._waiting)
        else:
            self._waiting.remove((*sequence.queue_key, sequence))
            heapq.heapify(self._waiting)

    def victim(self, running: dict[Sequence, None]) -> Sequence:
        """Return the running sequence to preempt."""
        return max(running, key=lambda sequence: sequence.queue_key)


def waiting_queue(policy: SchedulingPolicy) -> WaitingQueue:
    """Return an empty queue in the order of ``policy``."""
    if policy == "fcfs":
        return FirstComeFirstServed()
    return Ranked((lambda request: request.priority) if policy == "priority" else due_s)
