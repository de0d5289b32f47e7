"""Orders of waiting: who is admitted next, and who yields when KV blocks run out (`EngineOptions.scheduling_policy`).

Every order is fixed when a request arrives: it never changes with time, so nothing is decided inside a run of equal
iterations, and a heap holds it.
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
    """Requests that are not running, in the order in which they will be."""

    def __len__(self) -> int: ...

    @property
    def head(self) -> Sequence:
        """The next to be admitted; the queue must not be empty."""
        ...

    def add(self, sequence: Sequence) -> None:
        """A new request."""
        ...

    def put_back(self, sequence: Sequence) -> None:
        """A preempted request."""
        ...

    def remove(self, sequence: Sequence) -> None:
        """Take out a request: admitted, or given up."""
        ...

    def victim(self, running: dict[Sequence, None]) -> Sequence:
        """The running sequence to preempt."""
        ...


class FirstComeFirstServed:
    """By arrival; the last to be admitted yields, and goes first when there is room again."""

    def __init__(self) -> None:
        self._waiting: deque[Sequence] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def head(self) -> Sequence:
        """The next to be admitted."""
        return self._waiting[0]

    def add(self, sequence: Sequence) -> None:
        """A new request."""
        self._waiting.append(sequence)

    def put_back(self, sequence: Sequence) -> None:
        """A preempted request, which goes first."""
        self._waiting.appendleft(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take out a request: admitted, or given up."""
        self._waiting.remove(sequence)

    def victim(self, running: dict[Sequence, None]) -> Sequence:
        """The running sequence to preempt."""
        return next(reversed(running))


class Ranked:
    """The lowest rank first, ties by arrival; the highest running one yields and waits in its old place, as in vLLM."""

    def __init__(self, rank: Callable[[Request], float]) -> None:
        self._rank = rank
        self._waiting: list[tuple[float, int, Sequence]] = []
        self._entries: dict[Sequence, tuple[float, int, Sequence]] = {}
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def head(self) -> Sequence:
        """The next to be admitted."""
        return self._waiting[0][2]

    def add(self, sequence: Sequence) -> None:
        """A new request."""
        sequence.place = (self._rank(sequence.request), next(self._arrivals))
        self.put_back(sequence)

    def put_back(self, sequence: Sequence) -> None:
        """A preempted request, which keeps the place of its arrival."""
        heapq.heappush(self._waiting, (*sequence.place, sequence))

    def remove(self, sequence: Sequence) -> None:
        """Take out a request: admitted, or given up."""
        if self.head is sequence:
            heapq.heappop(self._waiting)
        else:
            self._waiting.remove((*sequence.place, sequence))
            heapq.heapify(self._waiting)

    def victim(self, running: dict[Sequence, None]) -> Sequence:
        """The running sequence to preempt."""
        return max(running, key=lambda sequence: sequence.place)


def waiting_queue(policy: SchedulingPolicy) -> WaitingQueue:
    """The order of a policy."""
    if policy == "fcfs":
        return FirstComeFirstServed()
    return Ranked((lambda request: request.priority) if policy == "priority" else due_s)
