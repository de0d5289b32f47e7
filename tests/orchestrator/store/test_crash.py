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


def start_writer(root: Path) -> subprocess.Popen[str]:
    tests = Path(__file__).parent.parent
    repository = tests.parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tests}:{repository}"}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def kill(writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert writer.stdout is not None
    writer.stdout.close()


def test_kill_9_leaves_each_cell_without_a_record_or_with_a_whole_one(runs_dir, caplog):
    cells = [a_cell(users=users) for users in range(1, 6)]
    store = SweepStore.create(runs_dir, a_matrix(*cells), settings(), {})
    moments = random.Random(0)
    for _ in range(5):
        writer = start_writer(store.paths.root)
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
    assert max(len(record.attempts) for record in store.records()) > 1, "no writer lived long enough"


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
