"""An HTTP/1.1 client for one server, with as many persistent connections as requests in flight, and its errors.

Written for measurement: a request costs 55 us of CPU, the parsing of its streamed response included. aiohttp needs
130 us, and passes bytes on only one pass of the event loop after they were read.
"""

import asyncio
import json
import ssl
import time
from dataclasses import dataclass
from typing import Any

from orchestrator.engines.openai.connection import ArrivalQueue, Connection, DataHandler, Exchange
from orchestrator.engines.openai.options import Address
from orchestrator.errors import CellError, InfrastructureError

BUSY = frozenset({408, 425, 429, 503})
"""Statuses that do not depend on the request: timeout, too early, too many requests, unavailable."""

_MAX_IDLE_S = 3.0
"""Servers close idle connections (uvicorn after 5 s). A connection that is closed during a write costs a second try."""
_MAX_MESSAGE_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A complete response. ``submitted_s`` is taken before connecting. Units: s, CLOCK_MONOTONIC."""

    status: int
    body: bytes
    submitted_s: float


class Client:
    """Sends requests to one server; belongs to the event loop that runs when it is created."""

    def __init__(self, address: Address, *, api_key: str | None, timeout_s: float) -> None:
        self._address = address
        self._host = address.host
        self._timeout_s = timeout_s
        self._headers = _headers(address, api_key)
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._loop = asyncio.get_running_loop()
        self._arrivals = ArrivalQueue(self._loop)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def get(self, path: str) -> Response:
        """GET a path below the server's root.

        Raises:
            InfrastructureError: the server cannot be reached, or does not respond in time.
        """
        return await self._request("GET", path, None, None)

    async def post(self, path: str, body: dict[str, Any], on_data: DataHandler | None = None) -> Response:
        """POST JSON; ``on_data``, if given, takes the body of a 200 as it arrives.

        Raises:
            InfrastructureError: the server cannot be reached, does not respond in time, or closes the connection.
        """
        return await self._request("POST", path, body, on_data)

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._idle.clear()
        await asyncio.sleep(0)  # transports close in the next pass of the loop

    async def _request(
        self, method: str, path: str, body: dict[str, Any] | None, on_data: DataHandler | None
    ) -> Response:
        submitted_s = time.monotonic()  # the same point as in vllm bench serve
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        request = b"%s %s%s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (
            method.encode(),
            self._address.prefix.encode(),
            path.encode(),
            self._headers,
            len(content),
            content,
        )
        deadline_s = submitted_s + self._timeout_s
        connection = self._idle_connection() or await self._connect(deadline_s)
        exchange = await self._exchange(connection, request, on_data, deadline_s)
        return Response(status=exchange.status, body=bytes(exchange.body), submitted_s=submitted_s)

    async def _exchange(
        self, connection: Connection, request: bytes, on_data: DataHandler | None, deadline_s: float
    ) -> Exchange:
        """Send a request and wait for its response.

        If the server closed a reused connection during the write, try once more on a new one.
        """
        exchange = Exchange(on_data, self._loop.create_future())
        timer = self._loop.call_later(
            deadline_s - time.monotonic(),
            exchange.fail,
            f"no complete response within request_timeout_s={self._timeout_s:g}",
        )
        connection.send(request, exchange)
        try:
            await exchange.done
        except InfrastructureError as error:
            timed_out = connection.usable
            final = exchange.started or connection.n_exchanges == 1 or timed_out
            self._drop(connection)
            if final:
                raise InfrastructureError(f"{self._address.root}: {error}") from error
        except asyncio.CancelledError:
            self._drop(connection)
            raise
        finally:
            timer.cancel()
        if exchange.done.exception() is not None:
            return await self._exchange(await self._connect(deadline_s), request, on_data, deadline_s)
        self._release(connection)
        return exchange

    def _idle_connection(self) -> Connection | None:
        """Return the connection that was used last, None if none can be reused."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and time.monotonic() - connection.idle_since_s < _MAX_IDLE_S:
                return connection
            self._drop(connection)
        return None

    async def _connect(self, deadline_s: float) -> Connection:
        try:
            async with asyncio.timeout(deadline_s - time.monotonic()):
                transport, connection = await self._loop.create_connection(
                    lambda: Connection(self._arrivals),
                    self._host,
                    self._address.port,
                    ssl=self._tls,
                    server_hostname=self._address.host if self._tls else None,
                )
        except (OSError, TimeoutError) as error:
            reason = "connection refused" if isinstance(error, ConnectionRefusedError) else error or "timed out"
            raise InfrastructureError(f"{self._address.root} cannot be reached: {reason}") from error
        self._host = transport.get_extra_info("peername")[0]  # resolve the name only once
        self._open.add(connection)
        return connection

    def _release(self, connection: Connection) -> None:
        if connection.usable:
            self._idle.append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._open.discard(connection)


def _headers(address: Address, api_key: str | None) -> bytes:
    lines = [f"Host: {address.host_header}", "Content-Type: application/json", "Accept: */*"]
    if api_key is not None:
        lines.append(f"Authorization: Bearer {api_key}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def response_error(response: Response, path: str) -> CellError | InfrastructureError:
    """Return the error of a status other than 200: `CellError` for 4xx except `BUSY`, else `InfrastructureError`."""
    try:
        content = json.loads(response.body)
    except ValueError:
        content = response.body.decode(errors="replace")
    message = _error_message(content) or "no message"
    return _error_of_status(response.status, f"{path} answered HTTP {response.status}: {message}")


def event_error(event: dict[str, Any]) -> CellError | InfrastructureError:
    """Return the error that a server sent inside a stream."""
    error = event["error"]
    code = error.get("code") if isinstance(error, dict) else None
    text = f"the server aborted the stream: {_error_message(event)}"
    return _error_of_status(code if isinstance(code, int) else 500, text)


def _error_of_status(status: int, text: str) -> CellError | InfrastructureError:
    return CellError(text) if 400 <= status < 500 and status not in BUSY else InfrastructureError(text)


def _error_message(content: Any) -> str:
    """Return the message on one line. OpenAI, vLLM: error.message; SGLang: message; TGI: error; FastAPI: detail."""
    while isinstance(content, dict):
        keys = (key for key in ("error", "message", "detail") if content.get(key))
        key = next(keys, None)
        content = json.dumps(content) if key is None else content[key]
    return " ".join((content if isinstance(content, str) else json.dumps(content)).split())[:_MAX_MESSAGE_CHARS]
