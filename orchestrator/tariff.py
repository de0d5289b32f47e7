"""What the energy of a window costs, in money and in carbon: arithmetic on figures the user gives."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

J_PER_KWH = 3.6e6


class Tariff(BaseModel):
    """Price and carbon intensity of a kilowatt-hour; None where they are not given. Units: USD/kWh, g CO2e/kWh."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    price_per_kwh_usd: float | None = Field(default=None, ge=0)
    carbon_g_per_kwh: float | None = Field(default=None, ge=0)


def tariff_metrics(metrics: Mapping[str, float], tariff: Tariff) -> dict[str, float]:
    """``cost_usd`` and ``carbon_g_co2e`` of the GPU energy in ``metrics``; absent where figure or energy is."""
    energy_j = metrics.get("total_gpu_energy_j")
    if energy_j is None:
        return {}
    rates = {"cost_usd": tariff.price_per_kwh_usd, "carbon_g_co2e": tariff.carbon_g_per_kwh}
    return {key: energy_j / J_PER_KWH * rate for key, rate in rates.items() if rate is not None}
