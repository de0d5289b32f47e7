"""A short kill campaign with a fixed seed; the whole is `python -m tests.faults.kill_campaign`."""

import shutil

import pytest

from tests.faults.kill_campaign import SCENARIOS, campaign, staged


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="the fake NVML library needs a C compiler named `cc`")
def test_all_gpus_are_restored_after_twenty_kills():
    with staged() as (machine, folder):
        rounds = list(campaign(machine, folder, 20, seed=20))
    assert {each.scenario for each in rounds} >= {each.__name__ for each in SCENARIOS}
    assert [each for each in rounds if each.problems] == []
