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

    def call_when_settled(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once, after every callback due at this instant has run."""
        ...


class MonotonicClock:
    """``time.monotonic`` on a running asyncio loop: the clock of a real engine, and of a paced simulated one."""

    def now_s(self) -> float:
        """Seconds of CLOCK_MONOTONIC, shared by all processes of a host."""
        return time.monotonic()

    def call_when_settled(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` after what is ready now; a real clock has no exact instant to settle."""
        asyncio.get_running_loop().call_later(0.0, callback)


async def sleep_until(clock: Clock, when_s: float) -> None:
    """Sleep to an absolute time on ``clock``; at once if it has passed."""
    await asyncio.sleep(max(0.0, when_s - clock.now_s()))
