"""``python -m benchmarks.null_server``: a server that answers each completion at once and records its arrival.

It costs as little as a Python server can: one asyncio protocol, one constant answer of one token, no parsing beyond the
end of a request. ``GET /arrivals`` returns the times of the completions since the last such call as JSON, in
``CLOCK_MONOTONIC``. Units: s.
"""

import asyncio
import json
import re
import selectors
import socket
import time

_EVENTS = (
    b'data: {"id":"0","object":"text_completion","created":0,"model":"null","choices":'
    b'[{"index":0,"text":" x","logprobs":null,"finish_reason":"length","stop_reason":null}]}\n\n',
    b'data: {"id":"0","object":"text_completion","created":0,"model":"null","choices":[],'
    b'"usage":{"completion_tokens":1}}\n\n',
    b"data: [DONE]\n\n",
)
_LAST_CHUNK = b"0\r\n\r\n"
_COMPLETION = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in _EVENTS)
    + _LAST_CHUNK
)
_MODELS = b'{"object":"list","data":[{"id":"null","object":"model"}]}'
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class NullServer(asyncio.Protocol):
    """One connection."""

    def __init__(self, arrivals: list[float]) -> None:
        self._arrivals = arrivals
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        at_s = time.monotonic()
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            request, self._buffer = self._buffer[:end], self._buffer[end:]
            self._transport.write(self._answer(request, at_s))

    def _answer(self, request: bytes, at_s: float) -> bytes:
        if request.startswith(b"POST /v1/completions"):
            self._arrivals.append(at_s)
            return _COMPLETION
        if request.startswith(b"GET /arrivals"):
            body = json.dumps(self._arrivals).encode()
            self._arrivals.clear()
            return _response(b"200 OK", body)
        if request.startswith(b"GET /v1/models"):
            return _response(b"200 OK", _MODELS)
        return _response(b"404 Not Found", b'{"error":{"message":"not here"}}')


def _response(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


async def serve() -> None:
    """Print a free port and serve on it until the process ends."""
    arrivals: list[float] = []
    server = await asyncio.get_running_loop().create_server(lambda: NullServer(arrivals), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def blast(port: int, body: bytes, *, n_sockets: int = 16, for_s: float = 3.0) -> float:
    """Return how many completions per second the server can answer: constant bytes over bare sockets. Units: 1/s."""
    head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
    request = head + body
    selector = selectors.DefaultSelector()
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(n_sockets)]
    for one in sockets:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(one, selectors.EVENT_READ)
        one.sendall(request)
    began_s, answered = time.monotonic(), 0
    while time.monotonic() - began_s < for_s:
        for key, _ in selector.select(0.1):
            assert isinstance(key.fileobj, socket.socket)
            if key.fileobj.recv(65536).endswith(_LAST_CHUNK):
                answered += 1
                key.fileobj.sendall(request)
    ended_s = time.monotonic()
    for one in sockets:
        one.close()
    return answered / (ended_s - began_s)


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
