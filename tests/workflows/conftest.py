"""A clock that jumps and an engine that only waits: all the workflows need to run."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from workflows.request import Completion, Request

T = TypeVar("T")


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose time advances by the timeout it would have waited."""

    def __init__(self) -> None:
        self.virtual_s = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.virtual_s


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is scheduled")
        self._loop.virtual_s += timeout
        return super().select(0)


class LoopClock:
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def call_when_settled(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)


@dataclass
class FakeEngine:
    """Answers every request after ``duration_s(request)``; keeps what it was asked, and when."""

    duration_s: Callable[[Request], float] = lambda request: 1.0
    output_tokens: Callable[[Request], int] = lambda request: request.output_tokens
    clock: LoopClock = field(default_factory=LoopClock)
    requests: list[Request] = field(default_factory=list)
    started_s: dict[str, float] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    async def generate(self, request: Request) -> Completion:
        start_s = self.clock.now_s()
        self.requests.append(request)
        self.started_s[request.request_id] = start_s
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.duration_s(request))
        except asyncio.CancelledError:
            self.cancelled.append(request.request_id)
            raise
        finally:
            self.running -= 1
        return Completion(
            request_id=request.request_id,
            output_tokens=self.output_tokens(request),
            cached_tokens=0,
            n_preemptions=0,
            submitted_s=start_s,
            scheduled_s=start_s,
            first_token_s=self.clock.now_s(),
            finished_s=self.clock.now_s(),
        )

    @property
    def by_id(self) -> dict[str, Request]:
        return {request.request_id: request for request in self.requests}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T] | Awaitable[T]], T]:
    """Run a coroutine on a fresh jumping loop."""

    def run_on_jumping_loop(coroutine: Any) -> Any:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            return runner.run(coroutine)

    return run_on_jumping_loop
