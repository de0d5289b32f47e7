"""`python -m collectors.sampler_child`: sample, and answer the process that started this one over an inherited socket.

The first message is an `Order`. Each further message is the name of a method of `Sampler` and its arguments. Each
answer is a pair: whether it succeeded, and the result or the error. The process ends with its parent.
"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from collectors.errors import CollectorError
from collectors.processes import end_with_parent
from collectors.sampler import Sampler
from collectors.sources import SourceSpec


@dataclass(frozen=True, slots=True)
class Order:
    """What to sample, and at which period."""

    sources: Sequence[SourceSpec]
    period_s: float


def main() -> None:
    """Sample until the parent ends or closes the socket.

    The arguments are the file descriptor of the socket and the pid of the parent.
    """
    try:
        file, parent = map(int, sys.argv[1:])
    except ValueError:
        sys.exit("collectors.sampler_process starts this module; to sample in this process, use Sampler")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which still needs the last samples
    end_with_parent(parent=parent)
    with Connection(file) as connection:
        _serve(connection)


def _serve(connection: Connection) -> None:
    sampler = None
    try:
        order: Order = connection.recv()
        started = Sampler([spec.build() for spec in order.sources], order.period_s)
        started.start()
        sampler = started
        connection.send((True, None))
        while True:
            name, arguments = connection.recv()
            connection.send((True, getattr(sampler, name)(*arguments)))
    except CollectorError as error:
        connection.send((False, error))
    except EOFError:  # the parent closed its end
        pass
    finally:
        if sampler is not None:
            sampler.stop()


if __name__ == "__main__":
    main()
