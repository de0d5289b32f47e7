import asyncio
import os
import signal
import threading

import pytest

from orchestrator.errors import VirtualDeadlock
from orchestrator.runner.virtual_loop import VirtualLoop, run_virtual
from workflows.clock import sleep_until


def test_a_year_passes_at_once_and_exactly():
    async def main(clock):
        assert clock.now_s() == 0
        await asyncio.sleep(365 * 86_400)
        return clock.now_s()

    assert run_virtual(main) == 365 * 86_400


def test_callbacks_see_the_exact_time_they_were_set_for():
    async def main(clock):
        seen = []
        for when_s in (0.1 + 0.2, 0.3, 1e9, 1e9 + 1e-6):
            clock.call_at(when_s, lambda: seen.append(clock.now_s()))
        await sleep_until(clock, 2e9)
        return seen

    assert run_virtual(main) == [0.3, 0.1 + 0.2, 1e9, 1e9 + 1e-6]


def test_timers_of_one_instant_run_in_the_order_they_were_set():
    async def main(clock):
        seen = []
        for number in range(50):
            clock.call_at(1.0, lambda number=number: seen.append(number))
            clock.call_at(2.0 + number, lambda: None)
        await sleep_until(clock, 1.5)
        return seen

    assert run_virtual(main) == list(range(50))


def test_settled_callbacks_run_once_after_all_of_the_instant_and_before_time_advances():
    async def main(clock):
        seen = []

        def settled():
            seen.append(("settled", clock.now_s()))

        async def busy():
            for _ in range(3):
                await asyncio.sleep(0)
            clock.call_at(clock.now_s(), lambda: seen.append(("due now", clock.now_s())))

        clock.call_when_settled(settled)
        await busy()
        await sleep_until(clock, 1.0)
        return seen

    assert run_virtual(main) == [("due now", 0.0), ("settled", 0.0)]


def test_a_settled_callback_may_register_another():
    async def main(clock):
        seen = []
        clock.call_when_settled(lambda: (seen.append(1), clock.call_when_settled(lambda: seen.append(2))))
        await sleep_until(clock, 1.0)
        return seen

    assert run_virtual(main) == [1, 2]


def test_a_deadlock_names_the_waiting_tasks_and_places():
    async def stuck():
        await asyncio.Event().wait()

    async def main(clock):
        await sleep_until(clock, 3.0)
        await asyncio.create_task(stuck(), name="worker-7")

    with pytest.raises(
        VirtualDeadlock,
        match=r"at virtual 3 s; waiting: .*worker-7 at Event.wait \(.*locks.py:\d+\)",
    ):
        run_virtual(main)


async def in_a_thread(clock):
    await asyncio.to_thread(print)


async def in_an_executor(clock):
    await asyncio.get_running_loop().run_in_executor(None, print)


async def on_a_socket(clock):
    await asyncio.open_connection("localhost", 1)


async def on_a_file(clock):
    asyncio.get_running_loop().add_reader(0, print)


async def on_a_process(clock):
    await asyncio.create_subprocess_exec("true")


@pytest.mark.parametrize("main", [in_a_thread, in_an_executor, on_a_socket, on_a_file, on_a_process])
def test_waiting_outside_the_loop_raises(main):
    with pytest.raises(RuntimeError, match="cannot be used in virtual time"):
        run_virtual(main)


def test_another_thread_may_not_call_in():
    async def main(clock):
        loop, errors = asyncio.get_running_loop(), []

        def call_in():
            try:
                loop.call_soon_threadsafe(print)
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=call_in)
        thread.start()
        thread.join()
        return errors

    assert run_virtual(main) == ["another thread cannot call into a loop in virtual time: its call has no virtual time"]


def test_ctrl_c_ends_a_run_and_its_tasks_clean_up():
    cleaned = []

    async def main(clock):
        try:
            for _ in range(1_000_000):
                await asyncio.sleep(1)
                if clock.now_s() == 10:
                    os.kill(os.getpid(), signal.SIGINT)
        finally:
            cleaned.append(clock.now_s())

    with pytest.raises(KeyboardInterrupt):
        run_virtual(main)
    assert len(cleaned) == 1


def test_async_generators_are_closed_at_the_end():
    closed = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async def main(clock):
        async for _ in numbers():
            break

    run_virtual(main)
    assert closed == [True]


def test_the_loop_works_in_debug_mode():
    with asyncio.Runner(loop_factory=VirtualLoop, debug=True) as runner:
        assert runner.run(asyncio.sleep(5, "done")) == "done"
