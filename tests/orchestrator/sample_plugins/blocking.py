"""An engine that answers at once but blocks the event loop of the load generator, as a slow client does."""

import time

from orchestrator.serving.engine import EngineStart
from orchestrator.spec.engine import EngineOptions
from workflows.request import Completion


class Options(EngineOptions):
    """``blocks_s`` is how long each request blocks the loop."""

    blocks_s: float


def check(cell):
    """Accept every cell."""


def build(cell, clock):
    return _Engine(cell.engine.blocks_s)


class _Engine:
    def __init__(self, blocks_s):
        self._blocks_s = blocks_s

    async def start(self):
        return EngineStart()

    async def begin(self, cell, origin_s):
        pass

    async def generate(self, request):
        now_s = time.monotonic()
        time.sleep(self._blocks_s)  # noqa: ASYNC251 - the fault itself
        return Completion(
            request_id=request.request_id,
            output_tokens=request.output_tokens,
            cached_tokens=None,
            n_preemptions=None,
            submitted_s=now_s,
            scheduled_s=now_s,
            first_token_s=now_s + 0.001,
            finished_s=now_s + 0.002,
        )

    async def series(self):
        return {}

    def trouble(self):
        return None

    async def close(self):
        pass
