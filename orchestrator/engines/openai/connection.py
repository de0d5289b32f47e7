"""A persistent HTTP/1.1 connection: one request at a time; arrivals are stamped before any parsing."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

import httptools

from orchestrator.errors import InfrastructureError

DataHandler = Callable[[bytes, float], None]
"""Takes a part of a body and its arrival time. Units: s, CLOCK_MONOTONIC."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and its response. ``on_data`` gets the body of a 200 as it arrives; any other body is buffered.

    ``started`` is true once any byte of the response has arrived.
    """

    on_data: DataHandler | None
    done: asyncio.Future[None]
    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    started: bool = False

    def feed(self, data: bytes, at_s: float) -> None:
        """Add a part of the body that arrived at ``at_s``."""
        if self.on_data is not None and self.status == 200:
            self.on_data(data, at_s)
        else:
            self.body += data

    def finish(self) -> None:
        """Mark the response as complete."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, message: str) -> None:
        """End the exchange with an `InfrastructureError`."""
        if not self.done.done():
            self.done.set_exception(InfrastructureError(message))


class Receiver(Protocol):
    """Parses what arrives on a connection."""

    def receive(self, data: bytes | None, at_s: float) -> None:
        """Parse bytes that arrived at ``at_s``; None is the end of the connection."""
        ...


class ArrivalQueue:
    """Stamps arrivals at once and delivers them in order in the next pass of the event loop.

    An engine sends the tokens of an iteration to all its streams at once. If the first stream were parsed before the
    last socket is read, the parsing time would count as time of the engine.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrivals: list[tuple[Receiver, bytes | None, float]] = []

    def put(self, receiver: Receiver, data: bytes | None) -> None:
        """Stamp and queue ``data`` for a receiver."""
        at_s = time.monotonic()
        if not self._arrivals:
            self._loop.call_soon(self._deliver)
        self._arrivals.append((receiver, data, at_s))

    def _deliver(self) -> None:
        arrivals, self._arrivals = self._arrivals, []
        for receiver, data, at_s in arrivals:
            receiver.receive(data, at_s)


class Connection(asyncio.Protocol):
    """Writes requests and parses responses with `httptools`, which calls the ``on_...`` methods."""

    def __init__(self, arrivals: ArrivalQueue) -> None:
        self._arrivals = arrivals
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._at_s = 0.0
        self._has_framing = False  # the headers define where the body ends
        self._headers_complete = False
        self._lost_by_error = False
        self.n_exchanges = 0
        self.idle_since_s = 0.0
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; asyncio has set TCP_NODELAY."""
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Stamp and queue the data."""
        self._arrivals.put(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Queue the end of the connection behind the data that arrived before it."""
        self._lost_by_error = exc is not None
        self.usable = False
        self._arrivals.put(self, None)

    def send(self, request: bytes, exchange: Exchange) -> None:
        """Write a request; its response goes to ``exchange``."""
        assert self._transport is not None
        self._exchange = exchange
        self.n_exchanges += 1
        self._transport.write(request)

    def close(self) -> None:
        """Abort the connection and an exchange in flight."""
        self.usable = False
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    def receive(self, data: bytes | None, at_s: float) -> None:
        """Parse bytes that arrived at ``at_s``; None is the end of the connection."""
        exchange, self._at_s = self._exchange, at_s
        if exchange is None:  # idle, or the exchange was cancelled
            self.usable = self.usable and data is None
        elif data is None:
            self._end_at_close(exchange)
        else:
            exchange.started = True
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as error:
                exchange.fail(f"the response is not HTTP: {error}")
                self.close()

    def _end_at_close(self, exchange: Exchange) -> None:
        """Finish a response that ends with its connection; fail any other, which is incomplete."""
        self._exchange = None
        if self._headers_complete and not self._has_framing and not self._lost_by_error:
            exchange.finish()
            return
        exchange.fail(
            "the server closed the connection " + ("during the response" if exchange.started else "before it responded")
        )

    def on_message_begin(self) -> None:
        """Begin a response."""
        self._has_framing = self._headers_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header that defines where the body ends."""
        name = name.lower()
        if name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower()):
            self._has_framing = True

    def on_headers_complete(self) -> None:
        """Take the status."""
        self._headers_complete = True
        if self._exchange is not None:
            self._exchange.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        if self._exchange is not None:
            self._exchange.feed(body, self._at_s)

    def on_message_complete(self) -> None:
        """Finish the exchange; the connection is idle from now on."""
        exchange, self._exchange = self._exchange, None
        self.idle_since_s = self._at_s
        self.usable = self.usable and self._parser.should_keep_alive()
        if exchange is not None:
            exchange.finish()
