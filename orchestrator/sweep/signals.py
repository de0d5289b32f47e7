"""Stop on a signal: the first one requests a stop, the second one ends the process."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED_EXIT_CODE = 130

_STDERR = 2
_STOPPING = "\nstopping: nothing new starts, what has finished is kept; once more to end at once\n"


class Interrupt:
    """Whether a stop was requested; callable, to be passed as ``stop``."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        """Return whether a stop was requested."""
        return self.requested

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Request a stop; on the second signal exit with 130. The local Ray detects the exit and ends by itself.

        A handler may run in the middle of a write to a buffered stream, so it only uses ``os.write``.
        """
        del number, frame
        if not self.requested:
            self.requested = True
            os.write(_STDERR, _STOPPING.encode())
            return
        os._exit(INTERRUPTED_EXIT_CODE)


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn SIGINT, SIGTERM and SIGHUP into a flag while the block runs; main thread only.

    An ignored SIGHUP (``nohup``) stays ignored. The previous handlers are restored at the end.
    """
    interrupt = Interrupt()
    with _handled_by(interrupt.handle):
        yield interrupt


@contextmanager
def breakable() -> Iterator[Interrupt]:
    """Turn the same signals into ``KeyboardInterrupt`` while the block runs, and set the flag.

    Check the flag where an interrupt must not be missed: an exception raised inside a library's C code may be lost.
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
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
