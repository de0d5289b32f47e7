"""The null server's own ceiling: the same bytes again and again over bare sockets, nothing parsed."""

import selectors
import socket
import time

_END = b"0\r\n\r\n"


def blast(port: int, body: bytes, *, n_sockets: int = 16, for_s: float = 3.0) -> float:
    """Completions a second that the server answers to ``n_sockets`` connections at once. Units: 1/s."""
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
            if key.fileobj.recv(65536).endswith(_END):
                answered += 1
                key.fileobj.sendall(request)
    ended_s = time.monotonic()
    for one in sockets:
        one.close()
    return answered / (ended_s - began_s)
