import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.analysis.pairs import holm, paired_change


def test_positive_values_are_compared_as_ratios_by_the_paired_t_test():
    noise = random.Random(1)
    before = [noise.uniform(1, 100) for _ in range(12)]
    after = [value * noise.uniform(0.9, 1.3) for value in before]

    found = paired_change(before, after, range(12))

    logs = [math.log(b / a) for a, b in zip(before, after, strict=True)]
    expected = stats.ttest_1samp(logs, 0.0)
    interval = expected.confidence_interval(0.95)
    assert found.scale == "ratio"
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((math.expm1(interval.low), math.expm1(interval.high)))
    assert found.change == pytest.approx(found.after / found.before - 1)
    assert (found.least, found.most) == pytest.approx((math.expm1(min(logs)), math.expm1(max(logs))))


def test_where_a_value_is_zero_differences_are_compared():
    found = paired_change([0.0, 0.0, 0.0], [0.8, 0.9, 0.85], range(3))

    expected = stats.ttest_1samp([0.8, 0.9, 0.85], 0.0)
    assert (found.scale, found.before, found.after) == ("difference", 0.0, pytest.approx(0.85))
    assert found.change == pytest.approx(0.85)
    assert found.p == pytest.approx(expected.pvalue)


def test_repeats_of_a_unit_are_averaged_before_the_test():
    pooled = paired_change([1, 1, 1, 1], [1.1, 1.21, 1.4, 1.4], [0, 0, 1, 1])
    alone = paired_change([1, 1], [math.sqrt(1.1 * 1.21), 1.4], [0, 1])
    assert (pooled.n, pooled.p) == (2, pytest.approx(alone.p))
    assert pooled.change == pytest.approx(alone.change)


@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_values_are_no_difference_and_no_nan(n, value):
    found = paired_change([value] * n, [value * (1 + 1e-13)] * n, range(n))
    assert (found.change, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    assert not found.constant


def test_one_and_the_same_change_everywhere_is_certain():
    found = paired_change([1.0, 2.0, 4.0], [1.1, 2.2, 4.4], range(3))
    assert (found.change, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found.p == 0.0
    assert found.constant


def test_a_single_pair_that_changed_has_no_interval():
    found = paired_change([1.0], [2.0], [0])
    assert (found.change, found.low, found.high, found.p) == (pytest.approx(1.0), None, None, None)


def test_holm_adjusts_in_steps():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_between_each_p_value_and_bonferroni(p_values):
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p <= adjusted <= min(1.0, len(p_values) * p)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = holm(p_values)
    assert [adjusted[i] for i in order] == sorted(adjusted)
