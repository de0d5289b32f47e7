"""One request and its response, as they pass over a connection."""

import asyncio
from collections.abc import Callable

from orchestrator.errors import InfrastructureError

Piece = Callable[[bytes, float], None]
"""Takes a piece of a body and when it arrived, on CLOCK_MONOTONIC. Units: s."""


class Exchange:
    """Fills as a response arrives. ``on_piece`` gets the body of a 200 as it comes; any other body is kept.

    ``begun`` says whether any byte of the response came.
    """

    __slots__ = ("begun", "body", "done", "on_piece", "status")

    def __init__(self, on_piece: Piece | None, done: asyncio.Future[None]) -> None:
        self.on_piece = on_piece
        self.done = done
        self.status = 0
        self.body = bytearray()
        self.begun = False

    def piece(self, data: bytes, at_s: float) -> None:
        """Take a piece of the body."""
        if self.on_piece is not None and self.status == 200:
            self.on_piece(data, at_s)
        else:
            self.body += data

    def finish(self) -> None:
        """The response is whole."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, cause: str) -> None:
        """There will be no more of it."""
        if not self.done.done():
            self.done.set_exception(InfrastructureError(cause))
