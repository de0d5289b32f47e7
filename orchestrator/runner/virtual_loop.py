"""Virtual time: an asyncio event loop whose selector advances the time instead of waiting."""

import asyncio
import heapq
import math
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack

from orchestrator.errors import VirtualDeadlock

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


def _refused(name: str) -> Any:
    """Return a method that raises, for what waits on something outside the loop."""

    def refuse(_self: object, *_args: object, **_kwargs: object) -> NoReturn:
        raise RuntimeError(f"{name} cannot be used in virtual time: it waits for something outside the loop")

    return refuse


class _Timer(asyncio.TimerHandle):
    """A timer. Timers due at the same instant run in the order in which they were set.

    On a real loop two timers are never due at once; in virtual time requests often arrive together.
    """

    __slots__ = ("order",)
    order: int

    def __lt__(self, other: Any) -> bool:
        when_s: float = self._when  # type: ignore[attr-defined]
        other_s: float = other._when
        return when_s < other_s or (when_s == other_s and self.order < other.order)


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time, which starts at 0; for ``asyncio.Runner(loop_factory=VirtualLoop)``.

    Callbacks run exactly at their times. When nothing is left to run at an instant, the callbacks of
    `call_when_settled` run; only then the time advances. Threads, executors, sockets and subprocesses raise.
    """

    def __init__(self) -> None:
        self._now_s = 0.0
        self._settled: list[Callable[[], None]] = []
        self._n_timers = 0
        super().__init__()
        self._selector = self  # `BaseEventLoop` waits in `self._selector.select`
        self.clock = VirtualClock(self)

    def time(self) -> float:
        """Return the virtual seconds since the loop was created."""
        return self._now_s

    @property
    def _clock_resolution(self) -> float:
        """The distance to the next float, so that a timer due now runs and a later one does not."""
        return math.ulp(self._now_s)

    @_clock_resolution.setter
    def _clock_resolution(self, _resolution: float) -> None:
        """Ignore the resolution of the real clock, which `BaseEventLoop` sets."""

    def select(self, timeout: float | None) -> tuple[()]:
        """Schedule the settled callbacks, or else advance to the next timer. `BaseEventLoop` calls it once per turn.

        Raises:
            VirtualDeadlock: Nothing is left to run.
        """
        if timeout == 0:
            return ()
        if self._settled:
            settled, self._settled = self._settled, []
            for callback in settled:
                self.call_soon(callback)
            return ()
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        if not timers:
            raise VirtualDeadlock(self._deadlock_message())
        self._now_s = timers[0].when()
        return ()

    def call_at(
        self, when: float, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` at virtual time ``when``, after earlier timers for the same time."""
        self._check_closed()  # type: ignore[attr-defined]
        timer = _Timer(when, callback, args, self, context)
        timer.order = self._n_timers = self._n_timers + 1
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def call_when_settled(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once, after everything due at this instant and before the time advances."""
        self._settled.append(callback)

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Do as `call_soon`, for signal handlers. A call from another thread raises: it has no virtual time."""
        running_in: int | None = self._thread_id  # type: ignore[attr-defined]
        if running_in is not None and threading.get_ident() != running_in:
            raise RuntimeError("another thread cannot call into a loop in virtual time: its call has no virtual time")
        return self.call_soon(callback, *args, context=context)

    def _process_events(self, event_list: tuple[()]) -> None:
        """Do nothing: there are no I/O events."""

    def _write_to_self(self) -> None:
        """Do nothing: the loop never sleeps."""

    def _deadlock_message(self) -> str:
        waiting = sorted(f"{task.get_name()} at {_place(task)}" for task in asyncio.all_tasks(self) if not task.done())
        return f"nothing is left to run at virtual {self._now_s:g} s; waiting: {', '.join(waiting) or 'no task'}"

    run_in_executor = _refused("run_in_executor")
    add_reader = _refused("add_reader")
    add_writer = _refused("add_writer")
    add_signal_handler = _refused("add_signal_handler")
    getaddrinfo = _refused("getaddrinfo")
    getnameinfo = _refused("getnameinfo")
    create_connection = _refused("create_connection")
    create_server = _refused("create_server")
    create_datagram_endpoint = _refused("create_datagram_endpoint")
    connect_read_pipe = _refused("connect_read_pipe")
    connect_write_pipe = _refused("connect_write_pipe")
    subprocess_exec = _refused("subprocess_exec")
    subprocess_shell = _refused("subprocess_shell")
    sock_recv = _refused("sock_recv")
    sock_sendall = _refused("sock_sendall")
    sock_connect = _refused("sock_connect")
    sock_accept = _refused("sock_accept")


class VirtualClock:
    """The time of a `VirtualLoop`, as a `workflows.clock.Clock`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_s(self) -> float:
        """Return the virtual seconds since the loop was created."""
        return self._loop.time()

    def call_at(self, when_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run ``callback`` exactly at ``when_s``."""
        return self._loop.call_at(when_s, callback)

    def call_when_settled(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once, after everything due at this instant and before the time advances."""
        self._loop.call_when_settled(callback)


def run_virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, _T]]) -> _T:
    """Run ``main(clock)`` to its end in virtual time and return its result.

    Raises:
        VirtualDeadlock: ``main`` waits for something that never happens.
    """
    results: list[_T] = []

    async def keep_result(clock: VirtualClock) -> None:
        results.append(await main(clock))  # asyncio.Runner would format a returned result: 75 ms per cell

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        runner.run(keep_result(loop.clock))
    return results[0]


def _place(task: asyncio.Task[Any]) -> str:
    """Return where a suspended task waits: the innermost coroutine of its chain of awaits."""
    coroutine = task.get_coro()
    while isinstance(coroutine, CoroutineType) and isinstance(coroutine.cr_await, CoroutineType):
        coroutine = coroutine.cr_await
    if not isinstance(coroutine, CoroutineType) or coroutine.cr_frame is None:
        return repr(coroutine)
    return f"{coroutine.__qualname__} ({coroutine.cr_frame.f_code.co_filename}:{coroutine.cr_frame.f_lineno})"
