"""What `python -m collectors.sampler_child` does: it samples, and answers whoever started it over an inherited socket.

The first message says what to sample; after that each is the name of a method of `Sampler` and its arguments, and each
answer is a pair: whether it worked, and the result or the error. The process ends with its parent, whatever ends that.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from collectors.errors import CollectorError
from collectors.sampler import Sampler
from collectors.sources import SourceSpec


@dataclass(frozen=True, slots=True)
class Order:
    """What to sample, and how often."""

    sources: Sequence[SourceSpec]
    period_s: float


def main() -> None:
    """Samples until the parent ends or closes the socket.

    The arguments are the number of the socket's file and the parent's process id.
    """
    try:
        file, parent = map(int, sys.argv[1:])
    except ValueError:
        sys.exit("collectors.sampler_process starts this module; to sample in this process, use Sampler")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, who still wants the last samples
    _end_with(parent)
    with Connection(file) as asked:
        _serve(asked)


def _serve(asked: Connection) -> None:
    sampler = None
    try:
        order: Order = asked.recv()
        started = Sampler([spec.build() for spec in order.sources], order.period_s)
        started.start()
        sampler = started
        asked.send((True, None))
        while True:
            name, arguments = asked.recv()
            asked.send((True, getattr(sampler, name)(*arguments)))
    except CollectorError as error:
        asked.send((False, error))
    except EOFError:  # the parent wants no more
        pass
    finally:
        if sampler is not None:
            sampler.stop()


def _end_with(parent: int) -> None:
    """From now on this process is killed as soon as its parent is gone."""
    handle = os.pidfd_open(parent)
    if os.getppid() != parent:  # it ended before we looked; the id may be another's by now
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=_kill_after, args=(handle,), name="joulegrid-parent", daemon=True).start()


def _kill_after(handle: int) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
