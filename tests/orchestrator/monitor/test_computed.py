import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.monitor import computed


def power_samples(*columns, n_gpus=1, **options):
    return computed.power_samples(computed.Runs(*columns), gpus=range(n_gpus), idle_power_w=50, **options)


def integral_j(samples, device="SIM-0"):
    mine = samples["device"] == device
    return np.trapezoid(samples["power_w"][mine], samples["t_s"][mine])


def test_samples_of_two_runs_with_idle_time_around_them():
    samples = power_samples([1.0, 2.0], [2.0, 2.5], [300.0, 100.0], [1410.0, 1200.0], window=(0.0, 3.0))
    assert samples["t_s"].tolist() == [0, 1, 1, 2, 2, 2.5, 2.5, 3]
    assert samples["power_w"].tolist() == [50, 50, 300, 300, 200, 200, 50, 50]
    assert samples["energy_j"].tolist() == [0, 50, 50, 350, 350, 450, 450, 475]
    assert samples["device"].tolist() == ["SIM-0"] * 8
    np.testing.assert_array_equal(samples["sm_clock_mhz"], [np.nan] * 2 + [1410] * 2 + [1200] * 2 + [np.nan] * 2)


def test_energy_of_a_run_is_divided_among_the_gpus():
    samples = power_samples([0.0], [1.0], [600.0], [1410.0], n_gpus=2, window=(0.0, 2.0))
    assert set(samples["device"]) == {"SIM-0", "SIM-1"}
    assert integral_j(samples, "SIM-0") == integral_j(samples, "SIM-1") == 350


def test_neighbouring_runs_of_equal_power_and_clock_become_one():
    samples = power_samples(
        [0.0, 1.0, 3.0],
        [1.0, 3.0, 4.0],
        [100.0, 200.0, 100.0],
        [9.0, 9.0, 8.0],
        window=(0, 4),
    )
    assert samples["t_s"].tolist() == [0, 3, 3, 4]


def test_runs_are_cut_to_the_window():
    samples = power_samples([0.0], [4.0], [400.0], [1410.0], window=(1.0, 3.0))
    assert samples["t_s"].tolist() == [1, 3]
    assert samples["energy_j"].tolist() == [0, 200]


def test_without_runs_all_is_idle():
    samples = power_samples([], [], [], [], window=(0.0, 2.0))
    assert samples["power_w"].tolist() == [50, 50]
    assert samples["energy_j"].tolist() == [0, 100]


def test_a_period_keeps_idle_edges_and_the_mean_between():
    samples = power_samples(
        [1.0, 1.01, 1.02],
        [1.01, 1.02, 1.06],
        [1.0, 2.0, 4.0],
        [9.0] * 3,
        window=(0, 2),
        period_s=0.05,
    )
    assert samples["t_s"] == pytest.approx([0, 1, 1, 1.06, 1.06, 2])
    assert samples["power_w"][2] == pytest.approx(7 / 0.06)


runs = st.lists(st.tuples(st.sampled_from([0.0, 0.003, 1.0]), st.floats(0.001, 0.5), st.floats(0.1, 100)), max_size=40)


@given(runs, st.sampled_from([None, 0.01, 0.05, 2.0]), st.integers(1, 4))
def test_counter_integral_and_true_energy_agree(runs, period_s, n_gpus):
    now_s, starts, ends, energies, idle_s = 0.0, [], [], [], 0.0
    for gap_s, length_s, energy_j in runs:
        idle_s += gap_s
        starts.append(now_s + gap_s)
        now_s = starts[-1] + length_s
        ends.append(now_s)
        energies.append(energy_j)
    samples = power_samples(
        starts,
        ends,
        energies,
        [1000.0] * len(runs),
        n_gpus=n_gpus,
        window=(0.0, now_s + 1),
        period_s=period_s,
    )
    true_j = sum(energies) / n_gpus + (idle_s + 1) * 50
    assert integral_j(samples) == pytest.approx(true_j, rel=1e-9)
    assert samples["energy_j"][-1] == pytest.approx(true_j, rel=1e-9)
    if period_s:
        busy = np.sum(~np.isnan(samples["sm_clock_mhz"][samples["device"] == "SIM-0"])) / 2
        assert busy <= 1 + sum(gap > 0 for gap, _, _ in runs) + now_s / period_s + 1
