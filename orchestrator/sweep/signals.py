"""Stopping on request: the first signal asks, the second ends the process."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED_EXIT_CODE = 130

_STDERR = 2
_ASKED = "\nstopping: nothing new starts, what has finished is kept; once more to end at once\n"


class Interrupt:
    """Whether a stop was asked for; callable, so that it can be handed on as ``stop``."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        """The state now."""
        return self.requested

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Ask for a stop; asked before, end this process with 130: a Ray of ours notices and ends by itself.

        Only ``os.write``, because a handler may run in the middle of a write to a buffered stream.
        """
        del number, frame
        if not self.requested:
            self.requested = True
            os.write(_STDERR, _ASKED.encode())
            return
        os._exit(INTERRUPTED_EXIT_CODE)


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn SIGINT, SIGTERM and SIGHUP into a flag while the block runs; main thread only.

    A SIGHUP that is ignored (``nohup``) stays ignored. Handlers found are put back at the end.
    """
    interrupt = Interrupt()
    with _handled_by(interrupt.handle):
        yield interrupt


@contextmanager
def breakable() -> Iterator[Interrupt]:
    """Turn the same signals into `KeyboardInterrupt` while the block runs; the flag says that one came.

    The flag is asked where it matters, because an exception raised inside a library's C code may be lost.
    """
    interrupt = Interrupt()

    def handle(number: int, frame: FrameType | None) -> None:
        interrupt.requested = True
        raise KeyboardInterrupt

    with _handled_by(handle):
        yield interrupt


@contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    found = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
