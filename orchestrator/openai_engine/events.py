"""Server-sent events as completion servers write them: one line of data an event."""

from collections.abc import Iterator

_DONE = b"[DONE]"


class EventReader:
    """Cuts a stream of bytes into the data of its events, wherever the pieces were cut."""

    __slots__ = ("_rest", "ended")

    def __init__(self) -> None:
        self._rest = b""
        self.ended = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of the events that are now whole; ``[DONE]`` is none, it sets ``ended``.

        Lines of comments, names and ids are passed over.
        """
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == _DONE:
                    self.ended = True
                elif data:
                    yield data
