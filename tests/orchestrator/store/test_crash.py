"""A driver killed at any moment leaves whole records only."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from sample_sweeps import a_cell, a_matrix, a_record, settings

from orchestrator.store.sweep import SweepStore

WRITER = """
import sys
from pathlib import Path
from sample_sweeps import a_cell, a_record, an_attempt, some_series
from orchestrator.store.sweep import SweepStore

store = SweepStore.open(Path(sys.argv[1]))
cells = [a_cell(users=users) for users in range(1, 6)]
store.write(a_record(a_cell(users=100)), some_series())  # the first write loads libraries
print("ready", flush=True)
for round_ in range(1, 10_000):
    for cell in cells:
        attempts = tuple(an_attempt(number) for number in range(1, round_ + 1))
        store.write(a_record(cell, attempts=attempts), some_series(rows=round_))
"""


SUICIDES = """
import os, signal, sys
from pathlib import Path
from sample_sweeps import a_cell, a_record, an_attempt, some_series
from orchestrator.store.sweep import SweepStore

CALLS = {"open", "write", "flush", "fsync", "close", "rename", "replace", "mkdir", "unlink", "truncate", "__exit__"}
store = SweepStore.open(Path(sys.argv[1]))
cell = a_cell(users=1)
OLD = a_record(cell, "invalid", transient=(True,)), some_series(rows=1)
NEW = a_record(cell, attempts=(an_attempt(1), an_attempt(2))), some_series(rows=5)


def in_a_child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def write_and_die_at(moment):
    left = moment

    def at_each_call(frame, event, called):
        nonlocal left
        if event in ("c_call", "c_return") and called.__name__ in CALLS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(at_each_call)
    store.write(*NEW)
    sys.setprofile(None)


def state():
    record = store.read_record(cell.cell_id)
    names = {"series": ("power", "requests")}
    if record == OLD[0].model_copy(update=names):
        return "old"
    if record == NEW[0].model_copy(update=names) and store.read_series(record, "power").num_rows == 5:
        return "new"
    return "broken"


moment = 0
killed = True
while killed:
    moment += 1
    in_a_child(lambda: store.write(*OLD))
    killed = in_a_child(lambda: write_and_die_at(moment)) != 0
    print(state(), flush=True)
"""


def test_killed_at_any_call_a_cell_has_its_old_record_or_the_new_one(runs_dir):
    store = SweepStore.create(runs_dir, a_matrix(a_cell(users=1)), settings(), {})
    done = subprocess.run(
        [sys.executable, "-c", SUICIDES, str(store.paths.root)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    states = done.stdout.split()
    assert states == sorted(states, reverse=True), "the old record, and from some call on the new one"
    assert set(states) == {"old", "new"}
    assert states.count("old") > 20


def environment() -> dict[str, str]:
    tests = Path(__file__).parent.parent
    return {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent.parent}"}


def start_writer(root: Path) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def kill(writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert writer.stdout is not None
    writer.stdout.close()


def n_attempts(store: SweepStore) -> int:
    return max((len(record.attempts) for record in store.records()), default=0)


def test_kill_9_leaves_each_cell_without_a_record_or_with_a_whole_one(runs_dir, caplog):
    cells = [a_cell(users=users) for users in range(1, 6)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {})
    moments = random.Random(0)
    for number in range(5):
        writer = start_writer(store.paths.root)
        deadline_s = time.monotonic() + 30
        while number == 4 and n_attempts(store) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.01)  # the last writer replaces records, on a busy machine, too
        time.sleep(moments.uniform(0.01, 0.3))
        kill(writer)
        for record in store.records():
            rows = len(record.attempts)
            expected = a_record(a_cell(users=record.cell["load"]["users"])).model_copy(
                update={"attempts": record.attempts, "series": ("power", "requests")}
            )
            assert record == expected
            assert [attempt.number for attempt in record.attempts] == list(range(1, rows + 1))
    assert caplog.text == ""
    assert n_attempts(store) > 1


def test_a_record_once_written_is_never_touched_by_work_on_others(runs_dir):
    done = a_cell(users=9)
    cells = [done, *(a_cell(users=users) for users in range(1, 6))]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {})
    store.write(a_record(done), {})
    path = store.paths.cell(done.cell_id).record
    before = path.read_bytes(), path.stat().st_mtime_ns

    writer = start_writer(store.paths.root)
    time.sleep(0.2)
    kill(writer)

    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
