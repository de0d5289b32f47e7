"""The clock of a cell: seconds since an arbitrary origin, virtual or monotonic."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """The only time that coroutines of a cell use. Units: s."""

    def now_s(self) -> float:
        """Return seconds on this clock; only differences are meaningful."""
        ...

    def call_at(self, when_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run ``callback`` at ``when_s``, exactly then on a virtual clock; at once if that has passed."""
        ...

    def call_when_settled(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once, after every callback due at this instant has run."""
        ...


class MonotonicClock:
    """``time.monotonic`` on a running asyncio loop: for a real engine, or a simulated one that runs in real time."""

    def now_s(self) -> float:
        """Return seconds of ``CLOCK_MONOTONIC``, which all processes of a host share."""
        return time.monotonic()

    def call_at(self, when_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run ``callback`` at ``when_s``, or a little later: ``loop.time()`` need not be this clock."""
        return asyncio.get_running_loop().call_later(max(0.0, when_s - time.monotonic()), callback)

    def call_when_settled(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` after what is ready now; on a real clock no two callbacks are due at exactly one instant."""
        asyncio.get_running_loop().call_later(0.0, callback)


async def sleep_until(clock: Clock, when_s: float) -> None:
    """Sleep until an absolute time, exactly to it on a virtual clock; return at once if it has passed.

    Never wake early, although the timers of uvloop count whole milliseconds and may fire early.
    """
    await _wait_for_timer(clock, when_s)
    while clock.now_s() < when_s:
        await _wait_for_timer(clock, when_s)


async def _wait_for_timer(clock: Clock, when_s: float) -> None:
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_at(when_s, lambda: None if woken.done() else woken.set_result(None))
    try:
        await woken
    finally:
        timer.cancel()
