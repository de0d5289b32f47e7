"""A local Ray that does not start at once."""

import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.ray_runtime import local_ray


def test_a_start_that_fails_is_tried_once_more(monkeypatch):
    replies = ['{"error": "InvalidAuthToken"}\n', '{"address": "10.0.0.1:6379"}\n']
    monkeypatch.setattr(local_ray, "_read_line", lambda process: replies.pop(0))
    monkeypatch.setattr(local_ray.sys, "executable", "/bin/true")
    local = local_ray.start_local_ray(1)
    local.stop()
    assert local.address == "10.0.0.1:6379"
    assert replies == []


def test_a_ray_that_does_not_start_twice_is_an_environment_failure(monkeypatch):
    monkeypatch.setattr(local_ray, "_read_line", lambda process: '{"error": "no space left"}\n')
    monkeypatch.setattr(local_ray.sys, "executable", "/bin/true")
    with pytest.raises(EnvironmentFailure, match="a local Ray does not start: no space left"):
        local_ray.start_local_ray(1)
