"""Virtual time and an engine that only waits: all that workflows need to run."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from orchestrator.runner.virtual_loop import VirtualLoop
from workflows.execute import StepSpan, execute
from workflows.graph import Workflow
from workflows.request import Completion, Request

T = TypeVar("T")


class LoopClock:
    """The clock of whichever loop runs."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(when_s, callback)

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

    async def execute(self, workflow: Workflow) -> tuple[StepSpan, ...]:
        return await execute(workflow, generate=self.generate, clock=self.clock)

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


@pytest.fixture(scope="session")
def fake_engine() -> type[FakeEngine]:
    """For tests that need one engine an example."""
    return FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T] | Awaitable[T]], T]:
    """Run a coroutine in virtual time, from 0 s."""

    def run_virtual(coroutine: Any) -> Any:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(coroutine)

    return run_virtual
