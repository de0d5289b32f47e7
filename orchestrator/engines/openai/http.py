"""HTTP/1.1 to one server over as many kept-alive connections as there are requests at once.

Made for measuring: a request costs 55 us of CPU, streamed answer included, where it costs 130 us with aiohttp, which
also hands bytes over a pass of the loop after they were read.
"""

import asyncio
import json
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from orchestrator.engines.openai.connection import Connection, Exchange, Inbox, Piece
from orchestrator.errors import InfrastructureError

_MAX_IDLE_S = 3.0
"""Servers close idle connections (uvicorn after 5 s); one that closes as we write costs a second try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back. ``submitted_s`` is when it was asked for, before connecting, on CLOCK_MONOTONIC. Units: s."""

    status: int
    body: bytes
    submitted_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server's address in its parts. ``prefix`` is the path before ``/v1``, without a slash at its end."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def root(self) -> str:
        """The address without ``/v1``, as it is shown and compared."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"

    @property
    def host_header(self) -> str:
        """Host and port as HTTP wants them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class Client:
    """Sends requests to one server; to be used in the loop it is made in."""

    def __init__(self, address: Address, *, api_key: str | None, timeout_s: float) -> None:
        self._address = address
        self._host = address.host
        self._timeout_s = timeout_s
        self._headers = _headers(address, api_key)
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(self._loop)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def get(self, path: str) -> Response:
        """GET a path below the server's root.

        Raises:
            InfrastructureError: the server was not reached, or did not answer in time.
        """
        return await self._exchange("GET", path, None, None)

    async def post(self, path: str, body: dict[str, Any], on_piece: Piece | None = None) -> Response:
        """POST JSON; where ``on_piece`` is given it takes the body of a 200 as it comes.

        Raises:
            InfrastructureError: the server was not reached, did not answer in time, or was cut off.
        """
        return await self._exchange("POST", path, body, on_piece)

    async def close(self) -> None:
        """Close every connection."""
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._idle.clear()
        await asyncio.sleep(0)  # transports close in the loop's next pass

    async def _exchange(self, method: str, path: str, body: dict[str, Any] | None, on_piece: Piece | None) -> Response:
        submitted_s = time.monotonic()  # where vllm bench serve takes it too
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        request = b"%s %s%s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (
            method.encode(),
            self._address.prefix.encode(),
            path.encode(),
            self._headers,
            len(content),
            content,
        )
        give_up_s = submitted_s + self._timeout_s
        connection = self._idle_connection() or await self._connect(give_up_s)
        exchange = await self._over(connection, request, on_piece, give_up_s)
        return Response(status=exchange.status, body=bytes(exchange.body), submitted_s=submitted_s)

    async def _over(self, connection: Connection, request: bytes, on_piece: Piece | None, give_up_s: float) -> Exchange:
        """One exchange; a kept connection that the server closed as we wrote is tried once more on a new one."""
        exchange = Exchange(on_piece, self._loop.create_future())
        expiry = self._loop.call_later(
            give_up_s - time.monotonic(),
            exchange.fail,
            f"no whole answer within request_timeout_s={self._timeout_s:g}",
        )
        connection.send(request, exchange)
        try:
            await exchange.done
        except InfrastructureError as error:
            final = exchange.begun or connection.n_exchanges == 1 or connection.usable  # usable: it ran out of time
            self._drop(connection)
            if final:
                raise InfrastructureError(f"{self._address.root}: {error}") from error
        except asyncio.CancelledError:
            self._drop(connection)
            raise
        finally:
            expiry.cancel()
        if exchange.done.exception() is not None:
            return await self._over(await self._connect(give_up_s), request, on_piece, give_up_s)
        self._keep(connection)
        return exchange

    def _idle_connection(self) -> Connection | None:
        """The connection that was used last."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and time.monotonic() - connection.idle_since_s < _MAX_IDLE_S:
                return connection
            self._drop(connection)
        return None

    def _keep(self, connection: Connection) -> None:
        if connection.usable:
            self._idle.append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._open.discard(connection)

    async def _connect(self, give_up_s: float) -> Connection:
        try:
            async with asyncio.timeout(give_up_s - time.monotonic()):
                transport, connection = await self._loop.create_connection(
                    lambda: Connection(self._inbox),
                    self._host,
                    self._address.port,
                    ssl=self._tls,
                    server_hostname=self._address.host if self._tls else None,
                )
        except (OSError, TimeoutError) as error:
            cause = "connection refused" if isinstance(error, ConnectionRefusedError) else error or "timed out"
            raise InfrastructureError(f"{self._address.root} is not reached: {cause}") from error
        self._host = transport.get_extra_info("peername")[0]  # looked up once
        self._open.add(connection)
        return connection


def _headers(address: Address, api_key: str | None) -> bytes:
    lines = [f"Host: {address.host_header}", "Content-Type: application/json", "Accept: */*"]
    if api_key is not None:
        lines.append(f"Authorization: Bearer {api_key}")
    return "".join(f"{line}\r\n" for line in lines).encode()


_PORTS = {"http": 80, "https": 443}


def read_address(base_url: str) -> Address:
    """The parts of a base URL, given with or without ``/v1``.

    Raises:
        ValueError: it is not http(s)://HOST[:PORT][/PATH], or holds a password, a query or a fragment.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"must be http://HOST:PORT or https://HOST, with or without /v1, got {base_url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user, password, query or fragment: name the key's variable with api_key_env")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return Address(scheme=parts.scheme, host=parts.hostname, port=parts.port or _PORTS[parts.scheme], prefix=path)
