"""The one clock of a cell: seconds since an arbitrary origin, virtual or monotonic."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """What coroutines of a cell may know about time. Units: s."""

    def now_s(self) -> float:
        """Seconds on this clock; only differences mean anything."""
        ...

    def call_at(self, when_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run ``callback`` at ``when_s`` on this clock, exactly then on a virtual one; at once if it has passed."""
        ...

    def call_when_settled(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once, after every callback due at this instant has run."""
        ...


class MonotonicClock:
    """``time.monotonic`` on a running asyncio loop: the clock of a real engine, and of a paced simulated one."""

    def now_s(self) -> float:
        """Seconds of CLOCK_MONOTONIC, shared by all processes of a host."""
        return time.monotonic()

    def call_at(self, when_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run ``callback`` at ``when_s``, or a little later: ``loop.time()`` need not be this clock."""
        return asyncio.get_running_loop().call_later(max(0.0, when_s - time.monotonic()), callback)

    def call_when_settled(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` after what is ready now; a real clock has no exact instant to settle."""
        asyncio.get_running_loop().call_later(0.0, callback)


async def sleep_until(clock: Clock, when_s: float) -> None:
    """Sleep to an absolute time on ``clock``, exactly to it on a virtual one; at once if it has passed.

    Never less: the timers of uvloop count in whole milliseconds and may fire early.
    """
    await _woken_at(clock, when_s)
    while clock.now_s() < when_s:
        await _woken_at(clock, when_s)


async def _woken_at(clock: Clock, when_s: float) -> None:
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_at(when_s, lambda: None if woken.done() else woken.set_result(None))
    try:
        await woken
    finally:
        timer.cancel()
