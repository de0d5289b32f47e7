"""What came in from sockets: stamped at once, read once every socket that was ready has been."""

import asyncio
import time
from typing import Protocol


class Reader(Protocol):
    """Who reads what came in."""

    def read(self, data: bytes | None, at_s: float) -> None:
        """Take bytes that arrived at ``at_s``; None is the end of the connection."""
        ...


class Inbox:
    """Keeps arrivals in order and hands them over in the loop's next pass.

    An engine sends the tokens of an iteration to all its streams at once. Parsing those of the first stream before the
    last socket is read would be counted as time the engine took.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: list[tuple[Reader, bytes | None, float]] = []

    def put(self, reader: Reader, data: bytes | None) -> None:
        """Stamp what arrived for a reader."""
        at_s = time.monotonic()
        if not self._arrived:
            self._loop.call_soon(self._hand_over)
        self._arrived.append((reader, data, at_s))

    def _hand_over(self) -> None:
        arrived, self._arrived = self._arrived, []
        for reader, data, at_s in arrived:
            reader.read(data, at_s)
