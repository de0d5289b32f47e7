"""A server that refuses requests, fails, closes connections or cannot be reached."""

import asyncio
import socket
import time

import pytest
from fake_completions import FakeCompletions, run
from openai_cells import a_cell, a_request, run_requests

from orchestrator.engines import openai
from orchestrator.engines.openai.http import Client
from orchestrator.engines.openai.options import parse_address
from orchestrator.errors import CellError, EnvironmentFailure, InfrastructureError
from orchestrator.serving.watchdog import WatchedEngine
from workflows.clock import MonotonicClock


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _after_start(server, request=None, **changes):
    """Return the completion of a request after the started server has changed."""

    async def use(base_url):
        engine = openai.build(a_cell(base_url, request_timeout_s=0.5), MonotonicClock())
        try:
            await engine.start()
            for name, value in changes.items():
                setattr(server, name, value)
            return await engine.generate(request or a_request())
        finally:
            await engine.close()

    return run(server, use)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"error": {"message": "too long:\n 9000 > 4096", "code": 400}}, "too long: 9000 > 4096"),
        ({"object": "error", "message": "no such model"}, "no such model"),
        ({"error": "Model is overloaded", "error_type": "overloaded"}, "Model is overloaded"),
        ({"detail": [{"msg": "bad"}]}, '[{"msg": "bad"}]'),
    ],
)
def test_a_refused_request_fails_the_cell_with_the_servers_message(error, message):
    with pytest.raises(CellError) as raised:
        _after_start(FakeCompletions(), status=400, error=error)
    assert str(raised.value) == f"/v1/completions answered HTTP 400: {message}"


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_busy_server_is_an_infrastructure_error(status):
    with pytest.raises(InfrastructureError, match=f"HTTP {status}: slow down"):
        _after_start(FakeCompletions(), status=status, error={"error": "slow down"})
    with pytest.raises(InfrastructureError, match="aborted the stream: slow down"):
        _after_start(FakeCompletions(), event={"error": {"message": "slow down", "code": status}})


@pytest.mark.parametrize("path", ["/v1/models", "/reset_prefix_cache", "/tokenize"])
def test_a_busy_server_is_not_a_server_without_a_feature(path):
    server = FakeCompletions(takes_ids=False, usage=False, tokenize_field="prompt", busy={path: 429})
    with pytest.raises(InfrastructureError, match=f"{path} answered HTTP 429: not now"):
        _after_start(server)


def test_a_busy_server_ends_the_probe():
    class BusyOnce(FakeCompletions):
        async def _answer(self, writer, path, body):
            self.status = 429 if len(self.bodies) == 2 else 200
            return await super()._answer(writer, path, body)

    with pytest.raises(InfrastructureError, match="HTTP 429"):
        _after_start(BusyOnce())


def test_a_server_error_is_an_infrastructure_error():
    with pytest.raises(InfrastructureError, match="HTTP 503: overloaded"):
        _after_start(FakeCompletions(), status=503, error={"error": {"message": "overloaded"}})


def test_a_stream_that_is_cut_off_is_an_error():
    with pytest.raises(InfrastructureError, match="closed the connection during the response"):
        _after_start(FakeCompletions(), cut_after=2)


def test_a_body_without_a_length_ends_with_its_connection():
    assert _after_start(FakeCompletions(unframed=True)).output_tokens == 5


def test_a_body_without_a_length_that_ends_early_is_an_error():
    with pytest.raises(InfrastructureError, match="without a finish_reason"):
        _after_start(FakeCompletions(), unframed=True, cut_after=2)


@pytest.mark.parametrize(("code", "kind"), [(500, InfrastructureError), (400, CellError)])
def test_an_error_inside_a_stream_is_raised(code, kind):
    with pytest.raises(kind, match="aborted the stream: engine died"):
        _after_start(FakeCompletions(), event={"error": {"message": "engine died", "code": code}})


def test_an_event_that_is_not_a_completion_is_an_error():
    with pytest.raises(InfrastructureError, match="not a completion"):
        _after_start(FakeCompletions(), event={"choices": [17]})


def test_a_response_has_a_timeout():
    with pytest.raises(InfrastructureError, match=r"request_timeout_s=0\.5"):
        _after_start(FakeCompletions(), pause_s=60.0)


@pytest.fixture
def slow_connections(monkeypatch):
    """Delay connections; return the times at which they began."""
    begun_s = []
    plain = asyncio.BaseEventLoop.create_connection

    async def slow(*args, **kwargs):
        begun_s.append(time.monotonic())
        await asyncio.sleep(0.4)
        return await plain(*args, **kwargs)

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", slow)
    return begun_s


def test_the_timeout_of_a_request_includes_the_connection(slow_connections):
    async def use(base_url):
        client = Client(parse_address(base_url), api_key=None, timeout_s=0.5)
        before_s = time.monotonic()
        with pytest.raises(InfrastructureError, match=r"request_timeout_s=0\.5"):
            await client.post("/v1/completions", {"prompt": "a", "max_tokens": 1})
        await client.close()
        return time.monotonic() - before_s

    assert 0.5 <= run(FakeCompletions(pause_s=60.0), use) < 0.85  # 0.9 if it began after the connection


def test_a_request_is_submitted_before_it_is_connected_also_on_a_second_try(slow_connections):
    async def use(base_url):
        client = Client(parse_address(base_url), api_key=None, timeout_s=5.0)
        answers = [await client.post("/v1/completions", {"prompt": "a", "max_tokens": 1}) for _ in range(2)]
        await client.close()
        return [answer.submitted_s for answer in answers]

    submitted_s = run(FakeCompletions(closes=True), use)
    assert len(slow_connections) == 2
    assert submitted_s[0] <= slow_connections[0] < submitted_s[1] <= slow_connections[1]


def test_a_server_that_sends_nothing_stalls_and_one_that_sends_does_not():
    async def use(base_url):
        engine = openai.build(a_cell(base_url), MonotonicClock())
        watched = WatchedEngine(engine)
        await watched.start()
        await watched.begin(a_cell(base_url, protocol={"stall_timeout_s": 0.5}), 0.0)
        try:
            before = engine.progress()
            await watched.generate(a_request(output_tokens=4))
            assert engine.progress() == before + 4
            server.pause_s = 60.0
            with pytest.raises(InfrastructureError, match="the engine stalled: 1 calls in flight"):
                await asyncio.wait_for(watched.generate(a_request()), 10)
        finally:
            await watched.close()

    server = FakeCompletions()
    run(server, use)


def test_a_server_lost_during_a_cell_is_an_infrastructure_error():
    async def main():
        server = FakeCompletions()
        async with server.serve() as base_url:
            engine = openai.build(a_cell(base_url), MonotonicClock())
            await engine.start()
        with pytest.raises(InfrastructureError, match=r"cannot be reached|closed the connection"):
            await engine.generate(a_request())
        await engine.close()

    asyncio.run(main())


def test_a_request_is_repeated_if_the_server_closed_an_idle_connection():
    server = FakeCompletions(closes=True)
    _, completions = run(server, lambda url: run_requests(url, *[a_request(name=f"w/{i}") for i in range(4)]))
    assert len(completions) == 4


def test_connections_are_reused():
    server = FakeCompletions()
    run(server, lambda url: run_requests(url, *[a_request(name=f"w/{i}") for i in range(9)]))
    assert server.n_connections == 1


def test_a_cancelled_request_leaves_nothing_on_its_connection():
    async def use(base_url):
        client = Client(parse_address(base_url), api_key=None, timeout_s=5.0)
        body = {"prompt": "a b", "max_tokens": 3}
        cancelled = asyncio.create_task(client.post("/v1/completions", body))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        server.pause_s = 0.0
        response = await client.post("/v1/completions", body | {"max_tokens": 1})
        await client.close()
        return response

    server = FakeCompletions(pause_s=0.2)
    assert run(server, use).body.count(b"choices") == 1


def test_preflight_reports_an_unreachable_server_on_one_line():
    base_url = f"http://127.0.0.1:{_free_port()}"
    with pytest.raises(EnvironmentFailure) as raised:
        openai.preflight(a_cell(base_url))
    assert str(raised.value).startswith(f"engine.base_url: {base_url} cannot be reached: ")
    assert "\n" not in str(raised.value)


def test_preflight_only_lists_the_models():
    server = FakeCompletions()
    run(server, lambda url: asyncio.to_thread(openai.preflight, a_cell(url)))
    assert server.paths == ["/v1/models"]


def test_arrivals_are_stamped_before_any_of_them_is_parsed(monkeypatch):
    """Two streams in one pass of the loop: a slow parse of the first does not delay the stamp of the second."""
    from orchestrator.engines.openai.connection import ArrivalQueue

    stamps = []

    class SlowReceiver:
        def receive(self, data, at_s):
            stamps.append(at_s)
            time.sleep(0.05)

    async def main():
        arrivals = ArrivalQueue(asyncio.get_running_loop())
        arrivals.put(SlowReceiver(), b"a")
        arrivals.put(SlowReceiver(), b"b")
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert len(stamps) == 2
    assert stamps[1] - stamps[0] < 0.04
