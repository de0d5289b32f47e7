"""The simulation that says how honest intervals within a window are shows the product's own, and they hold the mean."""

import numpy as np
import pytest

from benchmarks.block_coverage import KEYS, LOADS, Windows, long_run_means, row, windows

BATCH_8 = next(load for load in LOADS if load.name == "closed, batch 8")


@pytest.mark.slow
def test_windows_seen_through_a_sensor_have_intervals_as_wide_as_they_scatter():
    actual = windows(BATCH_8, 200, 40, "exact")
    energy = actual.values[KEYS[0]]
    assert set(actual.n_blocks) == {10.0}
    assert np.median(actual.half_widths[KEYS[0]]) == pytest.approx(1.96 * energy.std(), rel=0.4)
    truth = long_run_means(BATCH_8, 1)
    for key in KEYS:
        assert actual.coverage(key, truth[key]) >= 0.85, key


def test_a_share_is_of_the_intervals_there_are():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    actual = Windows(
        length_s=np.full(4, 10.0),
        latency_s=np.full(4, 2.0),
        n_blocks=np.array([5.0, 5.0, 10.0, np.nan]),
        values=dict.fromkeys(KEYS, values),
        half_widths=dict.fromkeys(KEYS, np.array([0.5, 1.5, 0.5, np.nan])),
    )
    assert actual.coverage(KEYS[0], 3.2) == pytest.approx(2 / 3)
    line = row(BATCH_8, actual, dict.fromkeys(KEYS, 2.0))
    assert line.startswith("| closed, batch 8 | 10 s | 5.0 | 75 % | 6.7 | +25.0 % | 87.7 % | 20.0 % | 67 / 33 |")
