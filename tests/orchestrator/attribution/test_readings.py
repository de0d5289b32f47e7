"""Readings at the updates of counters and of power, and energy between them."""

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.attribution.energy_model import Timeline
from orchestrator.attribution.readings import Readings, limit_w, readings_of
from orchestrator.measure.columns import Columns, by_device
from orchestrator.records.series import POWER


def _gpus(*rows):
    """Samples by device; ``rows`` are time, device, power and energy."""
    names = ("t_s", "device", "power_w", "energy_j")
    rows = [row if isinstance(row, dict) else dict(zip(names, row, strict=True)) for row in rows]
    return by_device(Columns(pa.Table.from_pylist(rows, schema=POWER)))


def test_only_samples_in_which_the_counter_changed_are_readings():
    rows = [(0.0, "a", 100, 0), (0.05, "a", 100, 0), (0.1, "a", 120, 10), (0.15, "a", 120, 10), (0.2, "a", 90, 22)]
    readings = readings_of(_gpus(*rows))
    assert readings.t_s.tolist() == [0.0, 0.1, 0.2]
    assert readings.energy_j.tolist() == [0.0, 10.0, 22.0]


@pytest.mark.parametrize("counter", [None, 7.0])
def test_without_a_counter_that_changes_power_is_integrated(counter):
    readings = readings_of(_gpus((0.0, "a", 100, counter), (1.0, "a", 200, counter), (3.0, "a", 200, counter)))
    assert readings.energy_j.tolist() == [0.0, 150.0, 550.0]


def test_a_counter_that_fell_is_not_used_and_one_that_wrapped_is():
    fell = _gpus((0.0, "a", 100, 500.0), (1.0, "a", 100, 600.0), (2.0, "a", 100, 3.0))
    assert readings_of(fell).energy_j.tolist() == [0.0, 100.0, 200.0]
    wrapped = 2**32 / 1000 - 50
    rows = (0.0, "a", 100, wrapped), (1.0, "a", 100, wrapped + 40), (2.0, "a", 100, 30.0)
    assert readings_of(_gpus(*rows)).energy_j == pytest.approx([0.0, 40.0, 80.0])


def test_a_counter_that_fell_in_a_long_pause_gives_no_readings():
    rows = [(t_s, "a", 100.0, 100.0 * t_s if t_s < 2 else t_s) for t_s in (0.0, 1.0, 9.0, 10.0)]
    assert readings_of(_gpus(*rows)) is None


def test_the_limit_is_the_sum_of_the_enforced_ones():
    rows = [{"t_s": 0.1 * i, "device": name, "power_limit_w": 300.0 + (i == 3)} for i in range(9) for name in "ab"]
    assert limit_w(_gpus(*rows)) == 600.0
    assert limit_w(_gpus((0.0, "a", 1, 1))) is None


def test_gpus_are_added_while_all_were_read():
    rows = [(0.0, "a", 0, 0), (0.1, "b", 0, 5), (1.0, "a", 0, 10), (1.1, "b", 0, 25), (2.0, "a", 0, 20)]
    both = readings_of(_gpus(*rows, (2.2, "b", 0, 47)))
    assert both.t_s.tolist() == [1.0, 2.0]
    assert both.energy_j == pytest.approx([0.0, 10 + 20])


def test_without_readings_of_every_gpu_nothing_is_attributed():
    assert readings_of(_gpus((0.0, "a", 0, 0), (1.0, "a", 0, 10), (0.5, "b", 0, 0))) is None
    assert readings_of(()) is None


def test_readings_are_thinned_and_the_last_is_kept():
    readings = Readings(t_s=np.arange(0, 1.05, 0.1), energy_j=np.arange(11.0))
    few = readings.every(0.3)
    assert few.t_s == pytest.approx([0.0, 0.3, 0.6, 1.0])
    assert few.energy_j[-1] == 10.0
    assert readings.every(5.0).t_s == pytest.approx([0.0, 1.0])


def test_amounts_between_edges():
    line = Timeline(np.array([1.0, 4.0]), np.array([3.0, 5.0]), np.array([[10.0], [4.0]]))
    assert line.between(np.array([0.0, 2.0, 3.5, 4.5, 9.0]))[:, 0].tolist() == [5.0, 5.0, 2.0, 2.0]


def test_power_is_the_mean_before_its_update_and_constant_without_updates():
    """Updates are every 0.1 s, and some repeat the value."""
    t_s = 0.02 + 0.05 * np.arange(1, 25)
    number = np.floor(t_s / 0.1)
    watts = np.where(number < 6, 100.0, 300.0) + np.where((number >= 6) & (number < 9), 10.0 * number, 0.0)
    readings = readings_of(_gpus(*((t, "a", w, None) for t, w in zip(t_s, watts, strict=True))))
    gaps_s, watts_between = np.diff(readings.t_s), np.diff(readings.energy_j) / np.diff(readings.t_s)
    assert gaps_s[0] == pytest.approx(0.5, abs=0.06)
    assert watts_between[0] == pytest.approx((4 * 100 + 360) / 5, rel=0.05)
    assert watts_between[1:] == pytest.approx([370.0, 380.0, 300.0], rel=0.01)
