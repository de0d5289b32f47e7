import math
import random

import pytest
from analysis_cells import a_measured
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.analysis.pairs import holm, pair, paired_change


def a_grid(caps=(200, 400), **config):
    return [
        a_measured(engine__max_num_seqs=batch, hardware__power_limit_w=cap, **config)
        for batch in (1, 8)
        for cap in caps
    ]


def levels(pairing, key):
    return [(one.a.config[key], one.b.config[key]) for one in pairing.pairs]


def test_equal_cells_are_paired_and_the_others_have_no_partner():
    a, b = a_grid(), a_grid(caps=(400, 300))
    result = pair(a, b)

    assert (
        [one.a.cell_id for one in result.pairs]
        == [one.b.cell_id for one in result.pairs]
        == [a[1].cell_id, a[3].cell_id]
    )
    assert [cell.config["hardware.power_limit_w"] for cell in result.only_a] == [200, 200]
    assert [cell.config["hardware.power_limit_w"] for cell in result.only_b] == [300, 300]
    assert (result.differing, result.n_ambiguous) == ({}, 0)


def test_keys_on_which_the_sweeps_differ_as_a_whole_are_set_aside():
    result = pair(a_grid(hardware__name="old", engine__block_size=16), a_grid(hardware__name="new"))

    assert len(result.pairs) == 4
    assert all(one.a.config["engine.max_num_seqs"] == one.b.config["engine.max_num_seqs"] for one in result.pairs)
    assert result.differing == {"hardware.name": (("old",), ("new",)), "engine.block_size": (("16",), ("absent",))}


def test_repeats_are_paired_by_repeat_and_share_a_configuration():
    a, b = ([cell for i in range(3) for cell in a_grid(repeat=i, hardware__name=name)] for name in ("old", "new"))
    result = pair(a, b[:-1])

    assert levels(result, "repeat") == [(i, i) for i in (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2)]
    assert len({one.configuration for one in result.pairs}) == 4
    assert result.only_a == (a[-1],)


def test_caps_of_different_gpus_are_paired_by_their_share_of_the_maximum():
    small = a_grid(caps=(200, 400, None), hardware__name="small", hardware__max_power_limit_w=400)
    small = [
        a_measured(**{k.replace(".", "__"): v for k, v in c.config.items()}, hardware__default_power_limit_w=300)
        for c in small
    ]
    large = a_grid(
        caps=(400, 800, 600),
        hardware__name="large",
        hardware__max_power_limit_w=800,
        hardware__default_power_limit_w=700,
    )
    result = pair(small, large)

    assert levels(result, "hardware.power_limit_w") == [(200, 400), (400, 800), (None, 600)] * 2
    assert result.caps_as_shares


def test_caps_in_the_same_watts_are_paired_in_watts():
    small, large = (
        a_grid(hardware__name=name, hardware__max_power_limit_w=most) for name, most in (("small", 400), ("large", 800))
    )
    result = pair(small, large)
    assert levels(result, "hardware.power_limit_w") == [(200, 200), (400, 400)] * 2
    assert not result.caps_as_shares


def test_a_cell_with_several_possible_partners_has_none():
    result = pair(a_grid(caps=(100, 200)), a_grid(caps=(300, 400)))
    assert (result.pairs, result.n_ambiguous) == ((), 8)


def test_declared_keys_take_the_place_of_those_found():
    a, b = [a_measured(engine__max_num_seqs=4, load__users=8)], [a_measured(engine__max_num_seqs=4, load__users=16)]
    assert len(pair(a, b, declared=["load"]).pairs) == 1
    assert pair(a, b, declared=["engine"]).pairs == ()


def test_positive_values_are_compared_as_ratios_by_the_paired_t_test():
    noise = random.Random(1)
    before = [noise.uniform(1, 100) for _ in range(12)]
    after = [value * noise.uniform(0.9, 1.3) for value in before]

    result = paired_change(before, after, range(12))

    logs = [math.log(b / a) for a, b in zip(before, after, strict=True)]
    expected = stats.ttest_1samp(logs, 0.0)
    interval = expected.confidence_interval(0.95)
    assert result.scale == "ratio"
    assert result.p == pytest.approx(expected.pvalue)
    assert (result.low, result.high) == pytest.approx((math.expm1(interval.low), math.expm1(interval.high)))
    assert result.change == pytest.approx(result.after / result.before - 1)
    assert (result.least, result.most) == pytest.approx((math.expm1(min(logs)), math.expm1(max(logs))))


def test_where_a_value_is_zero_differences_are_compared():
    result = paired_change([0.0, 0.0, 0.0], [0.8, 0.9, 0.85], range(3))

    expected = stats.ttest_1samp([0.8, 0.9, 0.85], 0.0)
    assert (result.scale, result.before, result.after) == ("difference", 0.0, pytest.approx(0.85))
    assert result.change == pytest.approx(0.85)
    assert result.p == pytest.approx(expected.pvalue)


def test_repeats_of_a_unit_are_averaged_before_the_test():
    pooled = paired_change([1, 1, 1, 1], [1.1, 1.21, 1.4, 1.4], [0, 0, 1, 1])
    alone = paired_change([1, 1], [math.sqrt(1.1 * 1.21), 1.4], [0, 1])
    assert (pooled.n, pooled.p) == (2, pytest.approx(alone.p))
    assert pooled.change == pytest.approx(alone.change)


@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_values_are_no_difference_and_no_nan(n, value):
    result = paired_change([value] * n, [value * (1 + 1e-13)] * n, range(n))
    assert (result.change, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)
    assert not result.constant


def test_one_and_the_same_change_everywhere_is_certain():
    result = paired_change([1.0, 2.0, 4.0], [1.1, 2.2, 4.4], range(3))
    assert (result.change, result.low, result.high) == pytest.approx((0.1, 0.1, 0.1))
    assert result.p == 0.0
    assert result.constant


def test_a_single_pair_that_changed_has_no_interval():
    result = paired_change([1.0], [2.0], [0])
    assert (result.change, result.low, result.high, result.p) == (pytest.approx(1.0), None, None, None)


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
