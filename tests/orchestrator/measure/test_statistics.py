"""Coverage of the interval of batch means, for independent and for correlated blocks; means of groups."""

import numpy as np
import pytest

from orchestrator.measure.statistics import MAX_BLOCKS, MIN_BLOCKS, autocorrelation, group_means, half_width, mean_of

RUNS = 3000


def autoregressive(rho: float, n: int, seed: int = 1) -> np.ndarray:
    """Return correlated values with the mean 10; shape (RUNS, n)."""
    draw = np.random.default_rng(seed).standard_normal((RUNS, n))
    for column in range(1, n):
        draw[:, column] = rho * draw[:, column - 1] + np.sqrt(1 - rho**2) * draw[:, column]
    return 10 + draw


def coverage(values: np.ndarray) -> float:
    ones = np.ones(values.shape[1])
    return float(np.mean([abs(row.mean() - 10) <= half_width(row, ones) for row in values]))


@pytest.mark.parametrize("n", [MIN_BLOCKS, MAX_BLOCKS])
def test_coverage_of_independent_blocks(n):
    assert 0.95 <= coverage(autoregressive(0.0, n)) <= 0.975


@pytest.mark.parametrize(("n", "least"), [(MIN_BLOCKS, 0.90), (MAX_BLOCKS, 0.92)])
def test_coverage_of_correlated_blocks(n, least):
    assert coverage(autoregressive(0.3, n)) >= least


def test_without_autocorrelation_the_interval_is_too_narrow(monkeypatch):
    monkeypatch.setattr("orchestrator.measure.statistics.autocorrelation", lambda *_: 0.0)
    assert coverage(autoregressive(0.3, MAX_BLOCKS)) < 0.88


def test_independent_blocks_have_the_interval_of_students_t():
    values = np.array([10.0, 12.0, 9.0, 11.0, 8.0, 11.5, 8.5])
    beyond = values - values.mean()
    assert autocorrelation(beyond, float(beyond @ beyond)) == 0
    assert half_width(values, np.ones(7)) == pytest.approx(2.446912 * values.std(ddof=1) / np.sqrt(7))


def test_common_scatter_of_numerator_and_denominator_does_not_count():
    tokens = np.array([100.0, 140.0, 80.0, 120.0, 95.0])
    assert half_width(0.4 * tokens, tokens) == pytest.approx(0, abs=1e-12)
    assert half_width(0.4 * tokens, np.ones(5)) > 10


def test_coverage_of_the_ratio_of_sums():
    draw = np.random.default_rng(5)
    under = draw.uniform(0.2, 1.8, (RUNS, MAX_BLOCKS))
    over = 2 * under + draw.normal(0, 0.3, under.shape) + (1 - under)
    truth = 2.0  # of the expectations; the mean of the ratios is larger
    held = [abs(o.sum() / u.sum() - truth) <= half_width(o, u) for o, u in zip(over, under, strict=True)]
    assert np.mean(over / under) > 2.3
    assert 0.93 <= np.mean(held) <= 0.975


def test_no_interval_without_denominators_and_no_width_without_scatter():
    assert np.isnan(half_width(np.ones(5), np.zeros(5)))
    assert half_width(np.full(5, 3.0), np.ones(5)) == 0


def test_a_trend_widens_the_interval():
    values = np.linspace(9, 11, MAX_BLOCKS)
    ones = np.ones(MAX_BLOCKS)
    plain = 2.262157 * values.std(ddof=1) / np.sqrt(MAX_BLOCKS)
    assert half_width(values, ones) == pytest.approx(3 * plain, rel=1e-6)


def test_means_of_groups_are_those_of_their_values():
    rows = [9.0, 5.0, 10.0, 12.0, np.nan]
    means, halves = group_means(np.array(rows)[:, None], np.array([0, 2, 0, 0, 2]), 4)
    expected = mean_of([9.0, 10.0, 12.0])
    assert means[:, 0] == pytest.approx([expected.value, np.nan, 5.0, np.nan], nan_ok=True)
    assert halves[:, 0] == pytest.approx([expected.half_width, np.nan, np.nan, np.nan], nan_ok=True)
    assert (expected.high - expected.low) / 2 == pytest.approx(4.302653 * 1.527525 / 3**0.5, rel=1e-6)
