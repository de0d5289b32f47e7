"""Money and carbon of a window's energy."""

import pytest
from pydantic import ValidationError

from orchestrator.spec.settings import Tariff, tariff_metrics


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
