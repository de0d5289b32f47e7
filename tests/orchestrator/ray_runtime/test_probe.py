import socket

import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.ray_runtime import probe


@pytest.fixture
def dead_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def _refusal(address: str) -> str:
    with pytest.raises(EnvironmentFailure) as caught:
        probe.check_joinable(address)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_address_without_a_listener(dead_port):
    assert _refusal(f"127.0.0.1:{dead_port}").startswith(f"no Ray cluster answers at 127.0.0.1:{dead_port} (")


def test_auto_follows_ray_address(dead_port, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{dead_port}")
    assert f"127.0.0.1:{dead_port}" in _refusal("auto")


def test_ray_client_is_refused_with_an_alternative():
    assert "cluster.address=auto" in _refusal("ray://head:10001")


@pytest.mark.parametrize("address", ["nonsense", ":6379", "head:", "head:99999", "head:six"])
def test_a_wrong_address_names_the_allowed_ones(address):
    assert "allowed: local, auto or HOST:PORT" in _refusal(address)


def test_a_server_that_is_not_ray_is_given_up(monkeypatch):
    monkeypatch.setattr(probe, "_PROBE_TIMEOUT_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert _refusal(address) == (f"cannot join the Ray cluster at {address}: no answer from a Ray head within 3 s")
