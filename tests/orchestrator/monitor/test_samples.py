"""Columns of a sampler as the series of a cell."""

import os
import threading
import time

import numpy as np
import pytest

from orchestrator.monitor import samples
from orchestrator.monitor.samples import series_of
from orchestrator.records.series import SCHEMAS

NOBODY = 2**22 + 1


def _processes(*pids: int) -> dict[str, np.ndarray]:
    n = len(pids)
    return {
        "t_s": np.full(n, 10.0),
        "device": np.array(["GPU-1"] * n, dtype=object),
        "pid": np.array(pids, dtype=np.float64),
    }


def test_times_count_from_the_cells_origin_and_what_was_not_read_is_missing():
    taken = {
        "power": {
            "t_s": np.array([9.9, 10.1]),
            "device": np.array(["GPU-1", "GPU-1"], dtype=object),
            "power_w": np.array([70.0, np.nan]),
            "energy_j": np.array([0.0, 14.0]),
            "clock_event_reasons": np.array([4.0, np.nan]),
        }
    }
    (power,) = series_of(taken, 10.0, ()).values()
    assert power.schema == SCHEMAS["power"]
    assert power.column("t_s").to_pylist() == pytest.approx([-0.1, 0.1])
    assert power.column("power_w").to_pylist() == [70.0, None]
    assert power.column("clock_event_reasons").to_pylist() == [4, None]
    assert power.column("temperature_c").to_pylist() == [None, None]


def test_a_series_without_rows_is_left_out():
    assert series_of({"gpu_processes": _processes()}, 10.0, ()) == {}


def test_a_process_is_the_cells_or_another_one_or_not_visible(monkeypatch):
    monkeypatch.setattr(samples, "_in_host_namespace", lambda: False)
    processes = series_of({"gpu_processes": _processes(7, os.getpid(), NOBODY)}, 10.0, {7})["gpu_processes"]
    assert processes.schema == SCHEMAS["gpu_processes"]
    assert dict(zip(processes.column("pid").to_pylist(), processes.column("own").to_pylist(), strict=True)) == {
        7: True,
        os.getpid(): False,
        NOBODY: None,
    }


def test_a_thread_of_the_engine_counts_as_its_process(monkeypatch):
    monkeypatch.setattr(samples, "_in_host_namespace", lambda: True)
    thread_ids, ended = [], threading.Event()
    thread = threading.Thread(target=lambda: (thread_ids.append(threading.get_native_id()), ended.wait()))
    thread.start()
    while not thread_ids:
        time.sleep(0.01)
    processes = series_of({"gpu_processes": _processes(*thread_ids)}, 10.0, {os.getpid()})["gpu_processes"]
    ended.set()
    thread.join()
    assert thread_ids != [os.getpid()]
    assert processes.column("own").to_pylist() == [True]


def test_a_host_pid_that_equals_a_visible_pid_by_chance_is_unknown(monkeypatch):
    monkeypatch.setattr(samples, "_in_host_namespace", lambda: False)
    processes = series_of({"gpu_processes": _processes(os.getpid(), NOBODY)}, 10.0, {7})["gpu_processes"]
    assert processes.column("own").to_pylist() == [None, None]


def test_in_the_host_namespace_a_process_that_has_ended_was_another_one(monkeypatch):
    monkeypatch.setattr(samples, "_in_host_namespace", lambda: True)
    processes = series_of({"gpu_processes": _processes(NOBODY)}, 10.0, {7})["gpu_processes"]
    assert processes.column("own").to_pylist() == [False]
