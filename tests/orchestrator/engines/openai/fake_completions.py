"""A completions server in this process that can imitate several servers, and keeps every request."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class FakeCompletions:
    """A server that refuses the fields ``refuses`` with status 400; the other fields configure its responses."""

    refuses: frozenset[str] = frozenset()
    takes_ids: bool = True
    ids_back: bool = True
    usage: bool = True
    stops_after: int | None = None  # tokens, unless the request forces the length
    tokens_per_chunk: int = 1
    empty_last_chunk: bool = False
    flush_path: str | None = None
    n_held: int = 0  # resets that fail because blocks are in use
    tokenize_field: str | None = None
    cached_tokens: int | None = None
    status: int = 200
    busy: dict[str, int] = field(default_factory=dict)  # status by path
    error: object = None
    cut_after: int | None = None  # chunks
    event: dict | None = None  # sent instead of the second chunk
    pause_s: float = 0.0
    gap_s: float = 0.0  # between chunks
    unframed: bool = False  # a stream ends with its connection
    closes: bool = False  # the connection after every response, without an announcement
    paths: list[str] = field(default_factory=list)
    bodies: list[dict] = field(default_factory=list)
    n_connections: int = 0
    keys: set[str] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def serve(self):
        self._writers = set()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await asyncio.sleep(0)

    async def _talk(self, reader, writer):
        self.n_connections += 1
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                self.keys.add(headers.get("authorization", ""))
                path = head.split(" ")[1]
                body = json.loads(await reader.readexactly(int(headers["content-length"])) or b"null")
                self.paths.append(path)
                if not await self._answer(writer, path, body) or self.closes:
                    break
        writer.close()

    async def _answer(self, writer, path, body) -> bool:
        if path in self.busy:
            return self._whole(writer, self.busy[path], {"detail": "not now"})
        if path.endswith("/v1/models"):
            return self._whole(writer, 200, {"data": [{"id": "served"}, {"id": "other"}]})
        if path == self.flush_path:
            self.n_held -= 1
            return self._whole(writer, 200, {"success": self.n_held < 0})
        if path.endswith("/tokenize") and self.tokenize_field in body:
            return self._whole(writer, 200, {"tokens": [0] * count(body[self.tokenize_field])})
        if not path.endswith("/v1/completions"):
            return self._whole(writer, 404, {"detail": "Not Found"})
        self.bodies.append(body)
        refused = self.refuses & body.keys()
        if refused:
            return self._whole(writer, 400, {"error": {"message": f"unknown field {sorted(refused)[0]}"}})
        if not self.takes_ids and not isinstance(body["prompt"], str):
            return self._whole(writer, 422, {"error": "prompt must be a string", "error_type": "validation"})
        if self.status != 200:
            return self._whole(writer, self.status, self.error)
        await asyncio.sleep(self.pause_s)
        return await self._stream(writer, body)

    async def _stream(self, writer, body) -> bool:
        framing = b"" if self.unframed else b"Transfer-Encoding: chunked\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing + b"\r\n")
        forced = body.get("ignore_eos") or body.get("min_tokens")
        n = body["max_tokens"] if forced or self.stops_after is None else min(self.stops_after, body["max_tokens"])
        for k, event in enumerate(self._events(body, n)):
            if k == self.cut_after:
                return False
            chunk = f"data: {json.dumps(self.event if k == 1 and self.event else event)}\n\n".encode()
            writer.write(chunk if self.unframed else b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
            await asyncio.sleep(self.gap_s)
        if self.unframed:
            return False
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        return True

    def _events(self, body, n):
        reason = "length" if n == body["max_tokens"] else "stop"
        for start in range(0, n, self.tokens_per_chunk):
            ids = list(range(start, min(n, start + self.tokens_per_chunk)))
            last = ids[-1] == n - 1 and not self.empty_last_chunk
            choice = {"index": 0, "text": "".join(f" t{i}" for i in ids), "finish_reason": reason if last else None}
            if self.ids_back and body.get("return_token_ids"):
                choice["token_ids"] = [100 + i for i in ids]
            yield {"choices": [choice], "usage": None}
        if self.empty_last_chunk:
            yield {"choices": [{"index": 0, "text": "", "finish_reason": reason}]}
        if self.usage and body.get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": count(body["prompt"]), "completion_tokens": n}
            if self.cached_tokens is not None:
                usage["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
            yield {"choices": [], "usage": usage}

    def _whole(self, writer, status, body) -> bool:
        text = json.dumps(body).encode()
        writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text))
        return True


def count(prompt) -> int:
    """Count tokens: one before every text, one for a word of up to three letters, two for a longer word."""
    if not isinstance(prompt, str):
        return len(prompt)
    return 1 + sum(1 if len(word) <= 3 else 2 for word in prompt.split())


def run(server: FakeCompletions, use: Callable):
    """Run ``use(base_url)`` against the server."""

    async def main():
        async with server.serve() as base_url:
            return await use(base_url)

    return asyncio.run(main())
