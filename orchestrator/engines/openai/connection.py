"""One kept-alive HTTP/1.1 connection: one exchange at a time, every arrival stamped before anything is parsed."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, cast

import httptools

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


class Connection(asyncio.Protocol):
    """Writes requests and reads responses; `httptools` parses them."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._at_s = 0.0
        self._framed = False  # the response says itself where its body ends
        self._headers_complete = False
        self._broken = False
        self.n_exchanges = 0
        self.idle_since_s = 0.0
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; asyncio has set TCP_NODELAY."""
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Stamp only."""
        self._inbox.put(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Told in the order of the data before it."""
        self._broken = exc is not None
        self.usable = False
        self._inbox.put(self, None)

    def send(self, request: bytes, exchange: Exchange) -> None:
        """Write a request; its response fills ``exchange``."""
        assert self._transport is not None
        self._exchange = exchange
        self.n_exchanges += 1
        self._transport.write(request)

    def close(self) -> None:
        """Drop the connection, and with it an exchange that is not over."""
        self.usable = False
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    def read(self, data: bytes | None, at_s: float) -> None:
        """Parse what arrived at ``at_s``."""
        exchange, self._at_s = self._exchange, at_s
        if exchange is None:  # closed while idle, or abandoned
            self.usable = self.usable and data is None
        elif data is None:
            self._lost(exchange)
        else:
            exchange.begun = True
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as error:
                exchange.fail(f"what came back is no HTTP: {error}")
                self.close()

    def _lost(self, exchange: Exchange) -> None:
        """A body without a length ends with its connection; any other is cut."""
        self._exchange = None
        if self._headers_complete and not self._framed and not self._broken:
            exchange.finish()
            return
        exchange.fail(
            "the server closed the connection " + ("in mid-answer" if exchange.begun else "without an answer")
        )

    def on_message_begin(self) -> None:
        """A response begins, from `httptools`."""
        self._framed = self._headers_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, from `httptools`."""
        name = name.lower()
        if name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower()):
            self._framed = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body, from `httptools`."""
        if self._exchange is not None:
            self._exchange.piece(body, self._at_s)

    def on_headers_complete(self) -> None:
        """The status is known, from `httptools`."""
        self._headers_complete = True
        if self._exchange is not None:
            self._exchange.status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        """The response is whole, from `httptools`."""
        exchange, self._exchange = self._exchange, None
        self.idle_since_s = self._at_s
        self.usable = self.usable and self._parser.should_keep_alive()
        if exchange is not None:
            exchange.finish()
