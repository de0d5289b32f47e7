"""Rows of a series in bounded memory."""

import numpy as np

from collectors.history import History


def filled(n_rows: int, max_rows: int = 100_000) -> History:
    history = History(("t_s", "power_w", "energy_j"), max_rows)
    for i in range(n_rows):
        history.append(float(i), "ab"[i % 2], {"power_w": 10.0 * i})
    return history


def test_a_span_has_its_rows_by_device_and_one_row_beyond_each_edge():
    rows = filled(12).between(4.0, 7.0)
    assert list(rows) == ["t_s", "device", "power_w", "energy_j"]
    assert list(rows["device"]) == ["a"] * 4 + ["b"] * 4
    np.testing.assert_array_equal(rows["t_s"], [2, 4, 6, 8, 3, 5, 7, 9])
    np.testing.assert_array_equal(rows["power_w"], 10 * rows["t_s"])
    assert np.isnan(rows["energy_j"]).all()
    np.testing.assert_array_equal(filled(12).between(4.0, 7.0, beyond=False)["t_s"], [4, 6, 5, 7])


def test_a_span_without_rows_still_has_the_neighbours():
    np.testing.assert_array_equal(filled(6).between(2.5, 2.75)["t_s"], [2, 4, 1, 3])
    np.testing.assert_array_equal(filled(6).between(50.0, 60.0)["t_s"], [4, 5])
    assert filled(0).between(0.0, 1.0)["t_s"].size == 0


def test_a_span_over_many_chunks_is_whole():
    history = filled(20_000)
    np.testing.assert_array_equal(np.sort(history.between(1.0, 19_998.0)["t_s"]), np.arange(20_000))
    np.testing.assert_array_equal(np.sort(history.between(4096.0, 4097.0)["t_s"]), np.arange(4094, 4100))


def test_the_oldest_rows_are_dropped_first():
    history = filled(30_000, max_rows=8192)
    kept = np.sort(history.between(0.0, 1e9)["t_s"])
    assert len(kept) <= 8192 + 4096
    np.testing.assert_array_equal(kept, np.arange(history.dropped_until_s + 1, 30_000))
