import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.graph import Shared, Unique
from workflows.lengths import FixedLength, LognormalLength, shuffled, uniform
from workflows.library import chat

SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True)


@given(SHARES, SHARES, st.floats(0.5, 5000), st.floats(0.05, 3), st.integers(1, 100), st.integers(0, 10_000))
def test_lognormal_quantiles_ascend_within_their_bounds(one, other, mean, cv, least, width):
    length = LognormalLength(kind="lognormal", mean=mean, cv=cv, min=least, max=least + width)
    lower, upper = (length.quantile(share) for share in sorted((one, other)))
    assert least <= lower <= upper <= least + width


def test_lognormal_draws_have_the_mean_and_spread_asked_for():
    length = LognormalLength(kind="lognormal", mean=200, cv=0.5, max=100_000)
    draws = [length.quantile(uniform(0, "test", index)) for index in range(20_000)]
    assert statistics.mean(draws) == pytest.approx(200, rel=0.02)
    assert statistics.stdev(draws) / statistics.mean(draws) == pytest.approx(0.5, rel=0.03)


def test_a_fixed_length_is_fixed():
    assert {FixedLength(kind="fixed", tokens=7).quantile(share) for share in (0.001, 0.5, 0.999)} == {7}


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValidationError, match="min 9 is more than max 8"):
        LognormalLength(kind="lognormal", mean=5, cv=1, min=9, max=8)


def test_uniform_draws_are_pinned_spread_out_and_apart_by_name():
    assert uniform(0, "chat/prompt", 0) == uniform(0, "chat/prompt", 0)
    draws = [uniform(3, "a", index) for index in range(10_000)]
    assert 0 < min(draws) < 0.001
    assert 0.999 < max(draws) < 1
    assert statistics.mean(draws) == pytest.approx(0.5, abs=0.01)
    others = [uniform(3, "b", index) for index in range(10_000)]
    assert abs(statistics.correlation(draws, others)) < 0.03
    assert abs(statistics.correlation(draws[1:], draws[:-1])) < 0.03


@given(st.integers(0, 2**40), st.integers(0, 50))
def test_shuffling_keeps_every_number(seed, n):
    assert sorted(shuffled(seed, "any", n)) == list(range(n))


def test_chat_puts_the_system_prompt_before_a_message_of_its_own():
    options = chat.Options.model_validate(
        {
            "kind": "chat",
            "prompt_tokens": {"kind": "lognormal", "mean": 100, "cv": 1, "max": 500},
            "output_tokens": {"kind": "fixed", "tokens": 9},
            "system_prompt_tokens": 40,
        }
    )
    prompts = [chat.build(options, seed=1).workflow(index).steps[0].prompt for index in range(50)]
    assert {prompt[0] for prompt in prompts} == {Shared("chat/system", 40)}
    assert len({prompt[1].n_tokens for prompt in prompts}) > 20
    assert all(isinstance(prompt[1], Unique) for prompt in prompts)
    other_seed = [chat.build(options, seed=2).workflow(index).steps[0].prompt for index in range(50)]
    assert prompts != other_seed
