"""A Ray of our own that does not start at once."""

import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.ray_runtime import local_ray


def test_a_start_that_met_another_on_its_port_is_tried_again(monkeypatch):
    told = ['{"error": "InvalidAuthToken"}\n', '{"address": "10.0.0.1:6379"}\n']
    monkeypatch.setattr(local_ray, "_line_of", lambda keeper: told.pop(0))
    monkeypatch.setattr(local_ray.sys, "executable", "/bin/true")
    found = local_ray.start_keeper(1)
    found.stop()
    assert found.address == "10.0.0.1:6379"
    assert told == []


def test_ray_that_does_not_start_twice_is_the_environments_failure(monkeypatch):
    monkeypatch.setattr(local_ray, "_line_of", lambda keeper: '{"error": "no space left"}\n')
    monkeypatch.setattr(local_ray.sys, "executable", "/bin/true")
    with pytest.raises(EnvironmentFailure, match="a local Ray does not start: no space left"):
        local_ray.start_keeper(1)
