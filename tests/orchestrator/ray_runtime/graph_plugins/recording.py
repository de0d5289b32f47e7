"""An engine on the wall clock that records its requests; its tokens are known, and some requests fail."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Literal
from zlib import crc32

from orchestrator.errors import CellError
from orchestrator.serving.engine import EngineStart
from orchestrator.spec.engine import EngineOptions

LOG = "RECORDING_ENGINE_LOG"


class Options(EngineOptions):
    simulated = True
    kind: str
    clock: Literal["virtual", "wall"] = "wall"
    answer_ms: float = 5.0
    refuses: str | None = None
    dies_at: str | None = None


def check(cell):
    """Anything fits."""


def build(cell, clock):
    return RecordingEngine(cell.engine)


def generated(request_id, n):
    """The tokens this engine answers a request with."""
    first = crc32(request_id.encode()) % 1000
    return tuple(range(first, first + n))


class RecordingEngine:
    def __init__(self, options):
        self.options = options
        self.in_flight = 0

    async def start(self):
        return EngineStart(provenance={"recording": "1"})

    async def begin(self, cell, origin_s):
        self.options = cell.engine  # so that one engine serves tests of several answers

    async def generate(self, request):
        self.log({"request": plain(request), "t_s": time.monotonic(), "pid": os.getpid()})
        if request.request_id == self.options.dies_at:
            os._exit(1)
        submitted_s = time.monotonic()
        try:
            if request.step == self.options.refuses:
                raise CellError(f"request {request.request_id}: refused")
            await asyncio.sleep(self.options.answer_ms / 1e3)
        except asyncio.CancelledError:
            self.log({"cancelled": request.request_id})
            raise
        from workflows.request import Completion

        n = max(1, request.output_tokens - 1)  # stopped one early
        return Completion(
            request_id=request.request_id,
            output_tokens=n,
            cached_tokens=0,
            n_preemptions=0,
            submitted_s=submitted_s,
            scheduled_s=submitted_s,
            first_token_s=submitted_s,
            finished_s=time.monotonic(),
            token_ids=generated(request.request_id, n),
        )

    async def series(self):
        return {}

    def progress(self):
        return 0

    def trouble(self):
        return None

    async def close(self):
        pass

    def log(self, row):
        with Path(os.environ[LOG]).open("a") as log:
            log.write(json.dumps(row) + "\n")


def plain(request):
    return {
        "id": request.request_id,
        "role": request.role,
        "tenant": request.tenant,
        "prompt": [[part.content, part.n_tokens, part.token_ids] for part in request.prompt],
        "output_tokens": request.output_tokens,
        "priority": request.priority,
        "remaining_tokens": request.remaining_tokens,
    }
