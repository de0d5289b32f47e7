"""What an objective limits, and when a cell meets it."""

import pytest
from pydantic import ValidationError

from orchestrator.spec.settings import Slo, Tariff, tariff_metrics


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


def test_a_kilowatt_hour_costs_its_price():
    tariff = Tariff(price_per_kwh_usd=0.12, carbon_g_per_kwh=400)
    assert tariff_metrics({"total_gpu_energy_j": 1.8e6}, tariff) == pytest.approx(
        {"cost_usd": 0.06, "carbon_g_co2e": 200.0}
    )


def test_what_is_not_given_or_not_measured_is_absent():
    assert tariff_metrics({"total_gpu_energy_j": 1.8e6}, Tariff()) == {}
    assert tariff_metrics({"num_requests": 3.0}, Tariff(price_per_kwh_usd=1)) == {}
    free = tariff_metrics({"total_gpu_energy_j": 3.6e6}, Tariff(carbon_g_per_kwh=0))
    assert free == {"carbon_g_co2e": 0.0}


def test_a_negative_price_is_refused():
    with pytest.raises(ValidationError):
        Tariff(price_per_kwh_usd=-0.1)
