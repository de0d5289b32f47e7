"""Processes that see the fake GPUs through the real `pynvml`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fake_nvml.fake_gpus import FakeGpus

PREAMBLE = """
import ctypes, json, os, sys, time
from pynvml import *
def say(value): print(json.dumps(value), flush=True)
def code(function, *arguments):
    try: function(*arguments)
    except NVMLError as error: return error.value
    return 0
nvmlInit()
gpus = [nvmlDeviceGetHandleByIndex(index) for index in range(nvmlDeviceGetCount())]
"""


def ask(machine: FakeGpus, program: str) -> Any:
    """Run a program after the preamble in a child process; return the JSON that it prints."""
    command = [sys.executable, "-c", PREAMBLE + program]
    ended = subprocess.run(command, env=machine.env, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@contextmanager
def running(machine: FakeGpus, program: str) -> Iterator[subprocess.Popen[str]]:
    """Start a child, wait for its first line, and kill it at the end of the block."""
    command = [sys.executable, "-c", PREAMBLE + program]
    with subprocess.Popen(
        command, env=machine.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline(), "the child ended early"
            yield child
        finally:
            child.kill()
