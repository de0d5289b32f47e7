"""Division of measured energy among iterations, against values computed by hand."""

import numpy as np
import pytest

from orchestrator.attribution.energy_model import EnergyModel, Fit, Runs
from orchestrator.attribution.readings import Readings
from orchestrator.attribution.split import apportioned

RUNS = Runs(start_s=np.array([1.0, 2.0, 5.0]), end_s=np.array([2.0, 4.0, 6.0]))


EXPECTED_J = np.array([100.0, 100.0, 300.0])


IDLE_W = 50.0


def _apportioned(*readings, lag_s=0.0):
    t_s, energy_j = np.array(readings, dtype=float).T
    fit = Fit(rates=np.zeros(4), misfit_ratio=0.0)
    model = EnergyModel(idle_w=IDLE_W, lag_s=lag_s, fit=fit, expected_j=EXPECTED_J)
    return apportioned(model, RUNS, Readings(t_s=t_s, energy_j=energy_j))


def test_an_interval_is_divided_as_expected_and_adds_up_to_what_was_measured():
    divided = _apportioned((0, 0), (4, 4 * IDLE_W + 400), (7, 7 * IDLE_W + 400 + 150))
    assert divided.above_idle_j == pytest.approx([200.0, 200.0, 150.0])
    assert divided.idle_j == pytest.approx(IDLE_W * 3)
    assert divided.residual_j == pytest.approx(0)
    assert divided.total_j == 7 * IDLE_W + 550


def test_a_run_that_lies_in_two_intervals_has_its_part_of_both():
    divided = _apportioned((0, 0), (3, 3 * IDLE_W + 150), (7, 7 * IDLE_W + 150 + 700))
    assert divided.above_idle_j == pytest.approx([100.0, 50.0 + 100.0, 600.0])


def test_readings_are_shifted_by_the_lag_of_the_sensor():
    early = _apportioned((0, 0), (3, 3 * IDLE_W + 150), (7, 7 * IDLE_W + 850))
    late = _apportioned((0.1, 0), (3.1, 3 * IDLE_W + 150), (7.1, 7 * IDLE_W + 850), lag_s=0.1)
    assert late.above_idle_j == pytest.approx(early.above_idle_j)


def test_what_no_iteration_explains_is_residual():
    divided = _apportioned((0, 0), (4.5, 4.5 * IDLE_W + 200 * 5), (7, 7 * IDLE_W + 1300))
    assert divided.above_idle_j == pytest.approx([300.0, 300.0, 300.0])
    assert divided.residual_j == pytest.approx(400.0)


def test_all_energy_without_iterations_is_idle():
    divided = _apportioned((-4, 0), (0.9, 777), (7, 777 + 6.1 * IDLE_W + 500))
    assert divided.above_idle_j == pytest.approx(EXPECTED_J)
    assert divided.idle_j == pytest.approx(777 + IDLE_W * 2.1)
    assert divided.residual_j == pytest.approx(0)


def test_a_run_outside_the_readings_was_not_measured():
    divided = _apportioned((0, 0), (4, 4 * IDLE_W + 200))
    assert np.isnan(divided.above_idle_j).tolist() == [False, False, True]
