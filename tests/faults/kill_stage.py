"""One round of the kill campaign: the GPUs, an operator, and processes that control the GPUs."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from collectors.control import acquire, journal
from collectors.processes import start_ticks
from tests.collectors.control.guard_process import CONTROLLER, controller, guard_pid, heard, wait_until
from tests.fake_nvml.fake_gpus import FakeGpus, SetKind

OPERATOR_W, OPERATOR_LATER_W, CAPS_W = (500, 700), (455, 495), (200, 450)
AT_ONCE_S = 30.0
"""Timeout of a round, for a busy machine; the log has the time it took."""

NOTHING = "no journal, nothing set"

COLLECTOR = """
import random
chance = random.Random(int(sys.argv[1]))
say(os.getpid())
while True:
    with acquire([0, 1]) as held:
        for _ in range(chance.randint(1, 30)):
            power = chance.randint(200, 450) if chance.random() < 0.8 else None
            clock = chance.randrange(210, 1980, 15) if chance.random() < 0.8 else None
            held.apply(Knobs(power_limit_w=power, sm_clock_mhz=clock))
            time.sleep(chance.random() * 0.01)
            if chance.random() < 0.1: held.restore()
"""
LANE = """
import subprocess, threading
command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
engine = subprocess.Popen(["sleep", "100"])
say(f"{child.stdout.readline().strip()} {engine.pid}")
time.sleep(100)
"""
ENDS_WITH_ITS_DRIVER = """
import threading
def watch(): sys.stdin.read(); die()
threading.Thread(target=watch, daemon=True).start()
"""
NODE = """
import logging, os, sys, threading, time, ray
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
         object_store_memory=100 * 2**20)

@ray.remote(num_cpus=0)
class Collector:
    def hold(self, program):
        from orchestrator.lanes.processes import end_with_parent
        end_with_parent("a lane of the kill campaign")
        threading.Thread(target=exec, args=(program, {}), daemon=True).start()
        return f"{os.getpid()} {os.getppid()}"

collector = Collector.remote()
print(ray.get(collector.hold.remote(sys.argv[1])), flush=True)
time.sleep(100)
"""


@dataclass(slots=True)
class Round:
    """The kills of a round and their outcome; `problems` is empty if all was restored."""

    scenario: str
    seed: int
    kills: int = 0
    instant: str = ""
    restored_by: str = ""
    restore_s: float = 0.0
    problems: list[str] = field(default_factory=list)


class Stage:
    """The GPUs, the operator and the processes of one round."""

    def __init__(self, machine: FakeGpus, folder: Path, round_: Round) -> None:
        self.machine, self.folder, self.round = machine, folder, round_
        self.chance = random.Random(round_.seed)
        self.before_w = {gpu: self.chance.randint(*OPERATOR_W) for gpu in (0, 1)}
        for gpu, watts in self.before_w.items():
            machine[gpu].set_power_limit(watts)
        self._n_calls = len(machine.set_calls)

    def wait(self, up_to_s: float) -> None:
        """Wait a random time, mostly after the first setting: a start takes longer than a setting."""
        if self.chance.random() < 0.9:
            wait_until(lambda: journal.uuids(self.folder))
        time.sleep(self.chance.random() * up_to_s)

    def kill(self, *pids: int | None) -> None:
        """Send SIGKILL to all, then wait until they have ended; record what was set at that instant."""
        self.round.instant = self._instant()
        killed = [pid for pid in pids if pid is not None]
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.round.kills += len(killed)
        for pid in killed:
            wait_until(lambda pid=pid: start_ticks(pid) is None)

    def guard(self) -> int | None:
        return guard_pid(self.folder)

    def expect_back(self, by: str) -> None:
        """Check that the operator's limits are restored, at once or by a next start."""
        start_s = time.monotonic()
        self.round.restored_by = by
        if by == "the next start":
            acquire([0, 1]).close()
        with suppress(AssertionError):
            wait_until(lambda: not self.left(), AT_ONCE_S)
        self.round.restore_s = round(time.monotonic() - start_s, 4)
        self.round.problems += self.left() + self.strange()

    def left(self) -> list[str]:
        """Return what is not restored."""
        problems = [
            f"GPU {gpu} stands at {self.machine[gpu].power_limit_w:g} W, not {watts} W"
            for gpu, watts in self.before_w.items()
            if self.machine[gpu].power_limit_w != watts
        ]
        problems += [f"GPU {gpu} is locked" for gpu in self.before_w if self.machine[gpu].locked_sm_clock_mhz]
        return problems + [f"{uuid} has a journal" for uuid in journal.uuids(self.folder)]

    def strange(self) -> list[str]:
        """Return limits that were set and are neither the operator's nor the controller's."""
        calls = [call for call in self.machine.set_calls[self._n_calls :] if call.kind is SetKind.LIMIT]
        limits_w = {(call.gpu, call.values[0] / 1000) for call in calls}
        return [
            f"GPU {gpu} was set to {watts:g} W"
            for gpu, watts in limits_w
            if watts != self.before_w[gpu] and not CAPS_W[0] <= watts <= CAPS_W[1]
        ]

    def _instant(self) -> str:
        """Return how far the controller was."""
        capped = any(self.machine[gpu].power_limit_w != watts for gpu, watts in self.before_w.items())
        locked = any(self.machine[gpu].locked_sm_clock_mhz for gpu in self.before_w)
        written = bool(journal.uuids(self.folder))
        if not written and not capped and not locked:
            return NOTHING
        return f"{'journal' if written else 'no journal'}, {'set' if capped or locked else 'nothing set'}"


@contextmanager
def collector(stage: Stage) -> Iterator[int]:
    """Start a controller that sets caps all the time."""
    with controller(COLLECTOR, stage.machine.env, str(stage.chance.randrange(2**31))) as child:
        yield int(heard(child))


@contextmanager
def lane(stage: Stage) -> Iterator[tuple[int, int, int]]:
    """Start a driver with a collector that ends with it, and an engine; yield their pids."""
    program = CONTROLLER + ENDS_WITH_ITS_DRIVER + COLLECTOR
    with (
        controller(LANE, stage.machine.env, program, str(stage.chance.randrange(2**31))) as child,
        ExitStack() as ended,
    ):
        collector_pid, engine_pid = map(int, heard(child).split())
        for pid in (collector_pid, engine_pid):
            ended.callback(_killed, pid)
        yield child.pid, collector_pid, engine_pid


@contextmanager
def node(stage: Stage) -> Iterator[tuple[int, int]]:
    """Start Ray with a controller in an actor that ends with its raylet, like those of lanes; yield their pids."""
    program = CONTROLLER + COLLECTOR.replace("sys.argv[1]", str(stage.chance.randrange(2**31)))
    env = {name: value for name, value in stage.machine.env.items() if not name.startswith("RAY_")}
    env |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with controller(NODE, env, program) as child, ExitStack() as ended:
        collector_pid, raylet_pid = map(int, heard(child).split())
        for process in psutil.Process(child.pid).children(recursive=True):
            ended.callback(_killed, process.pid)
        yield collector_pid, raylet_pid


def _killed(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
