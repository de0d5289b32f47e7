"""The simulation that says how honest the stop rule is plays the rule itself, and its figures are those of the docs."""

import numpy as np
import pytest

from benchmarks.stop_rule_coverage import HALF_WIDTH_RATIO, drawn, play
from orchestrator.spec.settings import StopRule
from orchestrator.sweep.stopping import satisfied_by

RULE = StopRule(metric="avg_gpu_power_w", half_width_ratio=HALF_WIDTH_RATIO, min_repeats=4)


@pytest.mark.parametrize("skewed", [False, True])
def test_what_is_played_is_the_rule(skewed):
    values = drawn(1.5, 200, 7, skewed=skewed)
    played = play(values, 1.0, min_repeats=RULE.min_repeats, half_width_ratio=HALF_WIDTH_RATIO)
    ends = [
        next((n for n in range(1, len(row)) if satisfied_by(RULE, list(row[:n])) is not None), len(row))
        for row in values
    ]
    assert played.n.tolist() == ends
    assert len(set(ends)) > 10


@pytest.mark.parametrize("skewed", [False, True])
def test_repeats_are_drawn_around_one_as_wide_as_asked(skewed):
    values = drawn(2.0, 20_000, 1, skewed=skewed)
    assert values.mean() == pytest.approx(1, abs=2e-4)
    assert values.std() == pytest.approx(2 * HALF_WIDTH_RATIO, rel=0.02)


def least_coverage(min_repeats: int) -> float:
    """Over how much repeats scatter."""
    scatters = (0.5, 1.0, 1.5, 2.0, 2.5)
    ended = (
        play(drawn(scatter, 10_000, 3, skewed=False), 1.0, min_repeats=min_repeats, half_width_ratio=HALF_WIDTH_RATIO)
        for scatter in scatters
    )
    return min(float(np.mean(one.holds)) for one in ended)


def test_coverage_stays_near_its_level_at_the_default_and_not_with_few_repeats():
    assert least_coverage(StopRule().min_repeats) == pytest.approx(0.931, abs=0.007)
    assert least_coverage(3) < 0.91


def test_a_number_of_repeats_that_nobody_looks_at_covers_what_it_says():
    values = drawn(1.0, 20_000, 5, skewed=False)[:, :8]
    assert play(values, 1.0, min_repeats=8, half_width_ratio=0).holds.mean() == pytest.approx(0.95, abs=0.005)
