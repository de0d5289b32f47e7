"""Asking a driver that may never answer: nothing ends a system call that hangs, but nobody need wait for it."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

from orchestrator.errors import InfrastructureError

T = TypeVar("T")


class DriverHangs(InfrastructureError):
    """Whoever was asked has not answered in time, and may never."""


def hang(whom: str, timeout_s: float, doing: str) -> DriverHangs:
    """The one line for it."""
    return DriverHangs(
        f"{whom} has not answered for {timeout_s:g} s while it {doing}: does the GPUs' driver hang? "
        "(nvidia-smi tells, dmesg has its Xid)"
    )


def within(timeout_s: float, doing: str, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, from a thread that is left behind where it takes longer.

    Raises:
        DriverHangs: it took longer.
    """
    asked = _asked(work)
    if not concurrent.futures.wait([asked], timeout_s).done:
        raise hang("the machine", timeout_s, doing)
    return asked.result()


async def awaited_within(timeout_s: float, doing: str, work: Callable[[], T]) -> T:
    """The same for a loop, which goes on meanwhile; who is cancelled does not wait either.

    Raises:
        DriverHangs: it took longer.
    """
    answer = asyncio.wrap_future(_asked(work))
    try:
        if not (await asyncio.wait([answer], timeout=timeout_s))[0]:
            raise hang("the machine", timeout_s, doing)
        return answer.result()
    finally:
        answer.cancel()


def _asked(work: Callable[[], T]) -> "concurrent.futures.Future[T]":
    """In a daemon thread: the interpreter does not wait for it, as it would for an executor's."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # whoever asked gets it
            future.set_exception(error)

    threading.Thread(target=run, name="joulegrid-driver", daemon=True).start()
    return future
