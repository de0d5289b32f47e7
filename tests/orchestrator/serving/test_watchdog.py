"""A watched engine: its callers never wait for an answer that cannot come."""

import asyncio

import pytest
from lane_fakes.cells import a_lane_cell

from orchestrator.errors import CellError, InfrastructureError
from orchestrator.serving.watchdog import WatchedEngine
from workflows.request import Request, Segment

REQUEST = Request(
    request_id="w/s",
    workflow_id="w",
    tenant="t",
    step="s",
    role="r",
    prompt=(Segment("p", 8),),
    output_tokens=4,
)


CELL = a_lane_cell()


class FakeEngine:
    """Answers once ``may_answer`` is set, unless it refuses."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.trouble_text: str | None = None
        self.refuses = False
        self.n_tokens = 0
        self.n_aborted = 0
        self.begun = 0

    async def begin(self, cell, origin_s):
        self.begun += 1

    async def generate(self, request):
        if self.refuses:
            raise CellError("too long")
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.n_aborted += 1
            raise
        return "answer"

    def progress(self):
        return self.n_tokens

    def trouble(self):
        return self.trouble_text

    async def close(self):
        return


def _with_engine(scenario):
    async def run():
        engine = FakeEngine()
        watched = WatchedEngine(engine)
        await watched.begin(CELL, 0.0)
        try:
            return await asyncio.wait_for(scenario(engine, watched), 10)
        finally:
            await watched.close()

    return asyncio.run(run())


def test_an_answer_and_an_error_pass_as_they_are():
    async def scenario(engine, watched):
        engine.may_answer.set()
        assert await watched.generate(REQUEST) == "answer"
        engine.refuses = True
        with pytest.raises(CellError, match="too long"):
            await watched.generate(REQUEST)

    _with_engine(scenario)


def test_trouble_ends_every_wait_and_those_to_come():
    async def scenario(engine, watched):
        waiting = [asyncio.create_task(watched.generate(REQUEST)) for _ in range(3)]
        await asyncio.sleep(0)
        engine.trouble_text = "the core was killed"
        for ended in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(ended, InfrastructureError)
            assert str(ended) == "the core was killed"
        with pytest.raises(InfrastructureError, match="the core was killed"):
            await watched.generate(REQUEST)

    _with_engine(scenario)


@pytest.mark.parametrize("look", ["trouble", "progress"])
def test_an_engine_that_cannot_be_watched_is_lost(look):
    async def scenario(engine, watched):
        def broken():
            raise AttributeError("no such thing")

        setattr(engine, look, broken)
        with pytest.raises(InfrastructureError, match="cannot be watched: AttributeError: no such thing"):
            await watched.generate(REQUEST)

    _with_engine(scenario)


def test_a_slow_engine_does_not_stall_and_a_silent_one_does():
    async def scenario(engine, watched):
        waiting = asyncio.create_task(watched.generate(REQUEST))
        for _ in range(11):  # 2.2 s, where 1.5 s of silence are allowed
            await asyncio.sleep(0.2)
            engine.n_tokens += 1
        assert not waiting.done()
        with pytest.raises(InfrastructureError, match=r"1 calls in flight and not one token in 2 s"):
            await waiting

    _with_engine(scenario)


def test_a_wait_that_is_cancelled_aborts_its_request_and_the_next_cell_begins_with_none():
    async def scenario(engine, watched):
        waiting = [asyncio.create_task(watched.generate(REQUEST)) for _ in range(2)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await asyncio.sleep(0.01)
        assert engine.n_aborted == 1
        await watched.begin(CELL, 1.0)
        assert (engine.n_aborted, engine.begun) == (2, 2)
        with pytest.raises(InfrastructureError, match="the request was aborted"):
            await waiting[1]

    _with_engine(scenario)
