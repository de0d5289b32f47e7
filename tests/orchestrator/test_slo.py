"""What an objective limits, and when a cell meets it."""

import pytest
from pydantic import ValidationError

from orchestrator.spec.settings import Slo


def test_an_objective_in_words():
    assert str(Slo(name="chat", ttft_ms=400, tpot_ms=99.5)) == "chat: TTFT ≤ 400 ms, TPOT ≤ 99.5 ms for 99 %"
    assert str(Slo(workflow_ms=60_000, attainment_ratio=0.9)) == "workflow ≤ 60000 ms for 90 %"
    assert str(Slo()) == "no limits"


def test_every_limited_share_must_be_reached():
    slo = Slo(ttft_ms=400, workflow_ms=9000, attainment_ratio=0.9)
    assert slo.met_by({"slo_attainment_ratio": 0.9, "workflow_slo_attainment_ratio": 1.0})
    assert not slo.met_by({"slo_attainment_ratio": 0.89, "workflow_slo_attainment_ratio": 1.0})
    assert not slo.met_by({"slo_attainment_ratio": 0.99})  # not measured is not met
    assert Slo(workflow_ms=9000).met_by({"slo_attainment_ratio": 0.0, "workflow_slo_attainment_ratio": 1.0})
    assert Slo().met_by({})


@pytest.mark.parametrize("wrong", [{"ttft_ms": 0}, {"tpot_ms": -1}, {"attainment_ratio": 1.1}, {"ttft": 3}])
def test_limits_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValidationError):
        Slo(**wrong)
