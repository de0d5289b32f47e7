"""SIGKILL at random instants to the processes that control GPUs: `python -m tests.faults.kill_campaign`.

In each round an operator has set a limit, a controller sets caps and clock locks as fast as it can, and one or several
processes are killed. Then the operator's limit must be restored: at once if a guard lives, else at the next start. No
clock may stay locked, and no process may ever set a value that is neither the operator's nor one of the controller's.

The GPUs are fake; processes, signals, locks, journals and Ray are real. A scenario is a function of a `Stage`. Kills of
whole lanes, with an engine and a sweep, are tested with the lanes.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from collectors.control import acquire, journal
from tests.collectors.control.guard_process import controller, end_guard, heard
from tests.fake_nvml.fake_gpus import H100, FakeGpus, Library
from tests.fake_nvml.layout import CallClass
from tests.faults.kill_stage import NOTHING, OPERATOR_LATER_W, Round, Stage, collector, lane, node

SET_TAKES_MS = 2.0
"""Real drivers take 10 to 20 ms; this is enough for kills to fall into it."""

NEXT_START = "say(os.getpid()); acquire([0, 1]).close(); say('done')"


def the_collector(stage: Stage) -> None:
    with collector(stage) as pid:
        stage.wait(0.5)
        stage.kill(pid)
        stage.expect_back("the guard")


def the_collector_and_the_guard(stage: Stage) -> None:
    with collector(stage) as pid:
        stage.wait(0.5)
        stage.kill(stage.guard(), pid)
        end_guard(stage.folder)  # a guard that was just being started
        stage.expect_back("the next start")


def the_guard_and_later_the_collector(stage: Stage) -> None:
    """The controller must start another guard before its next setting."""
    with collector(stage) as pid:
        stage.wait(0.5)
        stage.kill(stage.guard())
        stage.wait(0.5)
        guarded = stage.guard() is not None  # without a guard nothing is set
        stage.kill(pid)
        stage.expect_back("the guard" if guarded else "the next start")


def the_driver(stage: Stage) -> None:
    with lane(stage) as (driver, _, _):
        stage.wait(0.5)
        stage.kill(driver)
        stage.expect_back("the guard")


def the_raylet(stage: Stage) -> None:
    with node(stage) as (_, raylet):
        stage.wait(0.5)
        stage.kill(raylet)
        stage.expect_back("the guard")


def the_engine_and_the_collector(stage: Stage) -> None:
    with lane(stage) as (_, collector_pid, engine_pid):
        stage.wait(0.5)
        stage.kill(engine_pid, collector_pid)
        stage.expect_back("the guard")


def all_of_them(stage: Stage) -> None:
    with lane(stage) as pids:
        stage.wait(0.5)
        victims = [stage.guard(), *pids]
        stage.chance.shuffle(victims)
        stage.kill(*victims)
        end_guard(stage.folder)
        stage.expect_back("the next start")


def all_of_them_and_the_next_start(stage: Stage) -> None:
    """Kill the next start while it restores."""
    with collector(stage) as pid:
        stage.wait(0.5)
        stage.kill(stage.guard(), pid)
        end_guard(stage.folder)
    with controller(NEXT_START, stage.machine.env) as child:
        heard(child)
        time.sleep(stage.chance.random() * 0.05)
        stage.kill(child.pid)
    stage.expect_back("the next start")


def an_operator_comes_after_all_were_killed(stage: Stage) -> None:
    """A limit that the operator sets survives the next start; a clock lock does not, because its owner is unknown."""
    with collector(stage) as pid:
        stage.wait(0.5)
        stage.kill(stage.guard(), pid)
        end_guard(stage.folder)
    for gpu in stage.before_w:
        stage.before_w[gpu] = stage.chance.randint(*OPERATOR_LATER_W)
        stage.machine[gpu].set_power_limit(stage.before_w[gpu])
    acquire([0, 1]).close()
    stage.round.restored_by = "the next start"
    stage.round.problems += stage.left()


SCENARIOS: tuple[Callable[[Stage], None], ...] = (
    the_collector,
    the_collector_and_the_guard,
    the_guard_and_later_the_collector,
    the_driver,
    the_raylet,
    the_engine_and_the_collector,
    all_of_them,
    all_of_them_and_the_next_start,
    an_operator_comes_after_all_were_killed,
)


def play(machine: FakeGpus, folder: Path, scenario: Callable[[Stage], None], seed: int) -> Round:
    """Play one round and remove what it leaves."""
    round_ = Round(scenario.__name__, seed)
    stage = Stage(machine, folder, round_)
    try:
        scenario(stage)
    except Exception as error:  # a supervisor: an error is the result of the round
        round_.problems.append(f"{type(error).__name__}: {error}")
    end_guard(folder)
    for uuid in journal.uuids(folder):
        journal.remove(folder, uuid)
    return round_


def campaign(machine: FakeGpus, folder: Path, kills: int, seed: int) -> Iterator[Round]:
    """Yield rounds, scenario after scenario, until ``kills`` processes have been killed."""
    chance = random.Random(seed)
    for gpu in machine:
        gpu.delay(CallClass.LIMIT_SET, SET_TAKES_MS)
        gpu.delay(CallClass.CLOCK_SET, SET_TAKES_MS)
    done, turn = 0, 0
    while done < kills:
        played = play(machine, folder, SCENARIOS[turn % len(SCENARIOS)], chance.randrange(2**31))
        done, turn = done + played.kills, turn + 1
        yield played


def summary(rounds: Sequence[Round], seed: int) -> dict[str, object]:
    """Return the content of the log."""
    by_guard = [each for each in rounds if each.restored_by == "the guard" and each.instant != NOTHING]
    at_once = sorted(each.restore_s for each in by_guard)
    return {
        "seed": seed,
        "kills": sum(each.kills for each in rounds),
        "rounds": len(rounds),
        "rounds_by_scenario": Counter(each.scenario for each in rounds),
        "kills_by_instant": Counter(each.instant for each in rounds),
        "restored_by": Counter(each.restored_by for each in rounds),
        "guard_restored_within_s": {"median": statistics.median(at_once), "max": at_once[-1]} if at_once else None,
        "problems": [asdict(each) for each in rounds if each.problems],
        "machine": {"kernel": platform.release(), "python": platform.python_version(), "cores": os.cpu_count()},
    }


@contextmanager
def staged() -> Iterator[tuple[FakeGpus, Path]]:
    """Yield two fake GPUs that this process sees, and a folder of journals."""
    patch = pytest.MonkeyPatch()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        machine = FakeGpus.create(path, [H100] * 2, Library.build(path))
        patch.setenv("JOULEGRID_STATE_DIR", str(path / "state"))
        machine.load(patch)
        try:
            yield machine, path / "state"
        finally:
            patch.undo()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    rounds = []
    with staged() as (machine, folder):
        for played in campaign(machine, folder, options.kills, options.seed):
            rounds.append(played)
            print(json.dumps(asdict(played)), flush=True)
    result = summary(rounds, options.seed)
    print(json.dumps(result))
    if options.log is not None:
        options.log.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
