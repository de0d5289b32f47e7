"""One driver per sweep, across processes, forks and deaths."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentFailure, UserError
from orchestrator.store.lock import SweepLock

HOLDER = """
import sys, time
from pathlib import Path
from orchestrator.store.lock import SweepLock
with SweepLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "demo-20260101-000000-0000"
    folder.mkdir()
    return folder / "lock"


def hold_elsewhere(path: Path, code: str = HOLDER, *arguments: str) -> subprocess.Popen[str]:
    repository = Path(__file__).parents[3]
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder: subprocess.Popen[str], how: signal.Signals) -> None:
    holder.send_signal(how)
    holder.wait()
    assert holder.stdout is not None
    holder.stdout.close()


def test_a_second_driver_is_told_who_holds_the_sweep_until_that_one_is_killed(path):
    holder = hold_elsewhere(path)
    try:
        with pytest.raises(UserError) as caught:
            SweepLock(path).acquire()
    finally:
        end(holder, signal.SIGKILL)

    assert f"sweep {path.parent.name} is being worked on by pid {holder.pid}" in str(caught.value)
    assert f"on {socket.gethostname()} since" in str(caught.value)
    assert caught.value.exit_code == 2
    with SweepLock(path):
        pass


def test_the_lock_holds_within_one_process_too_and_ends_with_its_block(path):
    with SweepLock(path), pytest.raises(UserError, match=f"pid {os.getpid()}"):
        SweepLock(path).acquire()
    with SweepLock(path):
        pass
    assert path.read_bytes() == b""


def test_a_child_program_does_not_keep_the_lock(path):
    lock = SweepLock(path).acquire()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    lock.release()
    try:
        SweepLock(path).acquire().release()
    finally:
        child.kill()
        child.wait()


FORKER = """
import os, sys, time
from pathlib import Path
from orchestrator.store.lock import SweepLock
lock = SweepLock(Path(sys.argv[1])).acquire()
if os.fork() == 0:
    if sys.argv[2:]:
        lock.release()
    print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("arguments", [(), ("release",)])
def test_a_forked_child_neither_releases_nor_keeps_the_lock(path, arguments):
    parent = hold_elsewhere(path, FORKER, *arguments)
    try:
        child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text())
        with pytest.raises(UserError, match=f"pid {parent.pid}"):
            SweepLock(path).acquire()
    finally:
        end(parent, signal.SIGKILL)
    try:
        SweepLock(path).acquire().release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_holder_killed_before_it_wrote_its_name_is_still_a_holder(path):
    with SweepLock(path):
        os.truncate(path, 0)
        with pytest.raises(UserError, match="is being worked on by another process"):
            SweepLock(path).acquire()


def test_a_folder_that_is_gone_is_the_environment(path):
    path.parent.rmdir()
    with pytest.raises(EnvironmentFailure, match="No such file or directory"):
        SweepLock(path).acquire()
