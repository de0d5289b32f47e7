"""Records are written on several threads, reported one at a time, and an error stops the sweep."""

import threading
import time

import pytest
from sample_sweeps import a_cell, a_record

from orchestrator.errors import EnvironmentFailure
from orchestrator.sweep.record_writer import RecordWriter
from orchestrator.sweep.scheduler import FinishedCell


def ends(n):
    return [FinishedCell(cell=a_cell(repeat=number), attempts=()) for number in range(n)]


def test_all_that_was_taken_is_kept_when_the_block_ends_and_told_after_it_is_written():
    written, reported = [], []

    def write(finished):
        time.sleep(0.005)
        written.append(finished.cell.repeat)
        return a_record(finished.cell)

    def on_record(record):
        assert record.cell.get("repeat", 0) in written
        reported.append(record.cell_id)

    with RecordWriter(write, on_record) as writer:
        for end in ends(50):
            writer.submit(end)
    assert sorted(written) == list(range(50))
    assert sorted(reported) == sorted(end.cell.cell_id for end in ends(50))


def test_several_writes_wait_for_the_disk_at_once_and_never_too_many_are_taken():
    all_there, open_ = threading.Barrier(8, timeout=5), threading.Event()
    taken = []

    def write(finished):
        all_there.wait()
        open_.wait(5)
        return a_record(finished.cell)

    def feed():
        with RecordWriter(write, lambda record: None) as writer:
            for end in ends(24):
                writer.submit(end)
                taken.append(end)

    feeder = threading.Thread(target=feed)
    feeder.start()
    deadline_s = time.monotonic() + 5
    while len(taken) < 16 and time.monotonic() < deadline_s:
        time.sleep(0.005)
    time.sleep(0.05)
    assert len(taken) == 16
    open_.set()
    feeder.join(5)
    assert len(taken) == 24


def test_records_are_told_one_at_a_time():
    telling, most = [], []

    def on_record(record):
        telling.append(record)
        most.append(len(telling))
        time.sleep(0.002)
        telling.remove(record)

    with RecordWriter(lambda finished: a_record(finished.cell), on_record) as writer:
        for end in ends(20):
            writer.submit(end)
    assert max(most) == 1


def test_a_write_that_fails_is_seen_at_once_and_raised_at_the_end():
    def write(finished):
        raise EnvironmentFailure("the disk is full")

    seen = []

    def sweep():
        with RecordWriter(write, lambda record: None) as writer:
            seen.append(writer.failed())
            writer.submit(ends(1)[0])
            deadline_s = time.monotonic() + 5
            while not writer.failed() and time.monotonic() < deadline_s:
                time.sleep(0.005)
            seen.append(writer.failed())

    with pytest.raises(EnvironmentFailure, match="the disk is full"):
        sweep()
    assert seen == [False, True]


def test_an_error_of_the_sweep_itself_is_not_hidden_by_one_of_a_write():
    def write(finished):
        raise EnvironmentFailure("the disk is full")

    def sweep():
        with RecordWriter(write, lambda record: None) as writer:
            writer.submit(ends(1)[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep()
