"""Driver calls with a timeout. A system call that hangs cannot be interrupted, so its thread is left behind."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

from orchestrator.errors import InfrastructureError

T = TypeVar("T")


class DriverHangs(InfrastructureError):
    """A call did not return in time and may never return."""


def driver_hangs(caller: str, timeout_s: float, doing: str) -> DriverHangs:
    """Build the `DriverHangs` error; ``doing`` completes "while it …"."""
    return DriverHangs(
        f"{caller} has not answered for {timeout_s:g} s while it {doing}: does the GPUs' driver hang? "
        "(see nvidia-smi, and Xid messages in dmesg)"
    )


def call_within(timeout_s: float, doing: str, work: Callable[[], T]) -> T:
    """Call ``work`` in a thread; return its value or raise its error.

    Raises:
        DriverHangs: It took longer than ``timeout_s``; the thread is left behind.
    """
    future = _start(work)
    if not concurrent.futures.wait([future], timeout_s).done:
        raise driver_hangs("the machine", timeout_s, doing)
    return future.result()


async def await_within(timeout_s: float, doing: str, work: Callable[[], T]) -> T:
    """Call ``work`` in a thread while the loop goes on. If this is cancelled, it does not wait for the thread.

    Raises:
        DriverHangs: It took longer than ``timeout_s``; the thread is left behind.
    """
    future = asyncio.wrap_future(_start(work))
    try:
        if not (await asyncio.wait([future], timeout=timeout_s))[0]:
            raise driver_hangs("the machine", timeout_s, doing)
        return future.result()
    finally:
        future.cancel()


def _start(work: Callable[[], T]) -> "concurrent.futures.Future[T]":
    """Start a daemon thread: at exit the interpreter does not wait for it, as it would for an executor's."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # passed to the caller
            future.set_exception(error)

    threading.Thread(target=run, name="joulegrid-driver", daemon=True).start()
    return future
