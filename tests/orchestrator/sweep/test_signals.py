"""Stopping on request, in a process of its own where a signal would otherwise end the tests."""

import os
import signal
import subprocess
import sys
import time

import pytest

from orchestrator.sweep.signals import breakable, interruptible

LOOP = """
import sys, time
from orchestrator.sweep.signals import breakable, interruptible
with interruptible() as stop:
    print("running", flush=True)
    while True:
        time.sleep(0.05)
        if stop() and sys.argv[1] == "polite":
            break
print("closed", flush=True)
sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_sets_the_flag_and_handlers_come_back(number, capfd):
    before = signal.getsignal(number)
    with interruptible() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert stop()
        assert stop.requested
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.count("nothing new starts") == 1


def test_an_ignored_hangup_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def _loop(manner: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, manner], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "running\n"
    return process


def test_one_signal_lets_the_program_close_itself():
    process = _loop("polite")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "closed\n")
    assert "once more to end at once" in err


def test_the_second_signal_ends_the_process_at_once():
    process = _loop("stubborn")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_breaks_a_breakable_block_and_is_remembered(number):
    before = signal.getsignal(number)
    with breakable() as interrupt:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert interrupt.requested
    assert signal.getsignal(number) is before
