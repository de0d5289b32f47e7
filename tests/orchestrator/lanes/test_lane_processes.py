"""How the processes of a lane are identified, without Ray."""

import os
import subprocess
import sys

import psutil
import pytest

from orchestrator.lanes.actors import _environment
from orchestrator.lanes.processes import of_lane

_RENAMED = """
import setproctitle
setproctitle.setproctitle("VLLM::EngineCore " * 500)
print("named", flush=True)
input()
"""


def test_a_process_of_the_lane_that_renames_itself_is_still_identified():
    pytest.importorskip("setproctitle")
    environment = {**os.environ, **_environment("a-lane")["runtime_env"]["env_vars"]}
    with subprocess.Popen(
        [sys.executable, "-c", _RENAMED], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "named\n"
        assert psutil.Process(process.pid).cmdline()[0].startswith("VLLM::EngineCore")
        assert [each.pid for each in of_lane("a-lane")] == [process.pid]
        process.communicate("\n")
