"""The interval of batch means holds what it says, of blocks that scatter and of blocks that resemble each other."""

import numpy as np
import pytest

from orchestrator.measure.statistics import MAX_BLOCKS, MIN_BLOCKS, autocorrelation, half_width

RUNS = 3000


def autoregressive(rho: float, n: int, seed: int = 1) -> np.ndarray:
    """Shape (RUNS, n), mean 10, each the image of the one before."""
    draw = np.random.default_rng(seed).standard_normal((RUNS, n))
    for column in range(1, n):
        draw[:, column] = rho * draw[:, column - 1] + np.sqrt(1 - rho**2) * draw[:, column]
    return 10 + draw


def coverage(values: np.ndarray) -> float:
    ones = np.ones(values.shape[1])
    return float(np.mean([abs(row.mean() - 10) <= half_width(row, ones) for row in values]))


@pytest.mark.parametrize("n", [MIN_BLOCKS, MAX_BLOCKS])
def test_it_holds_the_mean_of_independent_blocks(n):
    assert 0.95 <= coverage(autoregressive(0.0, n)) <= 0.975


@pytest.mark.parametrize(("n", "least"), [(MIN_BLOCKS, 0.90), (MAX_BLOCKS, 0.92)])
def test_it_is_wider_where_blocks_resemble_their_predecessors(n, least):
    assert coverage(autoregressive(0.3, n)) >= least


def test_without_that_it_would_be_too_narrow(monkeypatch):
    monkeypatch.setattr("orchestrator.measure.statistics.autocorrelation", lambda *_: 0.0)
    assert coverage(autoregressive(0.3, MAX_BLOCKS)) < 0.88


def test_independent_blocks_have_the_interval_of_students_t():
    values = np.array([10.0, 12.0, 9.0, 11.0, 8.0, 11.5, 8.5])
    beyond = values - values.mean()
    assert autocorrelation(beyond, float(beyond @ beyond)) == 0
    assert half_width(values, np.ones(7)) == pytest.approx(2.446912 * values.std(ddof=1) / np.sqrt(7))


def test_what_numerator_and_denominator_share_is_no_scatter():
    tokens = np.array([100.0, 140.0, 80.0, 120.0, 95.0])
    assert half_width(0.4 * tokens, tokens) == pytest.approx(0, abs=1e-12)
    assert half_width(0.4 * tokens, np.ones(5)) > 10


def test_the_ratio_of_sums_is_held_where_the_mean_of_ratios_is_another():
    draw = np.random.default_rng(5)
    under = draw.uniform(0.2, 1.8, (RUNS, MAX_BLOCKS))
    over = 2 * under + draw.normal(0, 0.3, under.shape) + (1 - under)
    truth = 2.0  # of the expectations; the mean of the ratios is larger
    held = [abs(o.sum() / u.sum() - truth) <= half_width(o, u) for o, u in zip(over, under, strict=True)]
    assert np.mean(over / under) > 2.3
    assert 0.93 <= np.mean(held) <= 0.975


def test_nothing_to_divide_by_is_no_interval_and_nothing_that_scatters_is_one_of_no_width():
    assert np.isnan(half_width(np.ones(5), np.zeros(5)))
    assert half_width(np.full(5, 3.0), np.ones(5)) == 0


def test_a_trend_is_not_taken_for_scatter():
    values = np.linspace(9, 11, MAX_BLOCKS)
    ones = np.ones(MAX_BLOCKS)
    plain = 2.262157 * values.std(ddof=1) / np.sqrt(MAX_BLOCKS)
    assert half_width(values, ones) == pytest.approx(3 * plain, rel=1e-6)
