"""The input of a run: the matrix of cells, and the settings that are no part of a cell's identity."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.errors import allowed_names
from orchestrator.records.metrics import OF_CELLS
from orchestrator.spec.cell import Cell

_LABELS = {"ttft": "TTFT", "tpot": "TPOT", "e2el": "request", "workflow": "workflow"}
_J_PER_KWH = 3.6e6


class TrackingSettings(BaseModel):
    """Settings of MLflow; ``uri`` is an SQLite file or the address of a server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    uri: str = "sqlite:///mlflow.db"
    experiment: str = "joulegrid"


class ClusterSettings(BaseModel):
    """The Ray cluster: ``local`` starts one; ``auto`` or an address joins a running one.

    ``num_workers`` bounds the cells in flight. The timeouts bound the time to place a worker or a lane, to load an
    engine, and to release all of its resources, GPU memory included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = "local"
    num_workers: int | None = Field(default=None, ge=1)
    placement_timeout_s: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    engine_start_timeout_s: float = Field(default=900.0, gt=0, allow_inf_nan=False)
    teardown_timeout_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)


class Slo(BaseModel):
    """An objective: limits on latency; None is no limit. ``name`` is that of the preset.

    ``ttft_ms``, ``tpot_ms`` and ``e2el_ms`` limit a request (keys of ``vllm bench serve --goodput``), ``workflow_ms`` a
    whole workflow. ``attainment_ratio`` is the share of requests and of workflows that must meet all of their limits
    (MLPerf uses the 99th percentile).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    ttft_ms: float | None = Field(default=None, gt=0)
    tpot_ms: float | None = Field(default=None, gt=0)
    e2el_ms: float | None = Field(default=None, gt=0)
    workflow_ms: float | None = Field(default=None, gt=0)
    attainment_ratio: float = Field(default=0.99, gt=0, le=1)

    @property
    def limits_requests(self) -> bool:
        """Whether any limit holds for a request."""
        return any(limit is not None for limit in (self.ttft_ms, self.tpot_ms, self.e2el_ms))

    @property
    def limits_anything(self) -> bool:
        """Whether there is any limit at all."""
        return self.limits_requests or self.workflow_ms is not None

    def met_by(self, metrics: Mapping[str, float]) -> bool:
        """Return whether the metrics of a cell, with those of `orchestrator.measure.slo`, meet the objective.

        A limit that was not measured is not met; an objective without limits always is.
        """
        needed = {"slo_attainment_ratio": self.limits_requests, "workflow_slo_attainment_ratio": self.workflow_ms}
        return all(metrics.get(key, 0.0) >= self.attainment_ratio for key, limited in needed.items() if limited)

    def __str__(self) -> str:
        """Return a text such as ``chat: TTFT ≤ 400 ms, TPOT ≤ 100 ms for 99 %``."""
        limits = {label: getattr(self, f"{key}_ms") for key, label in _LABELS.items()}
        given = ", ".join(f"{label} ≤ {limit:g} ms" for label, limit in limits.items() if limit is not None)
        text = f"{given} for {100 * self.attainment_ratio:g} %" if given else "no limits"
        return f"{self.name}: {text}" if self.name else text


class StopRule(BaseModel):
    """When the repeats of a configuration may end; ``metric`` None is no rule.

    ``half_width_ratio`` is the half-width of the metric's interval divided by its mean; 0 stops only if all repeats
    are equal. Testing after every repeat reduces coverage: docs/method.md, "Protocol", has it for ``min_repeats``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str | None = None
    half_width_ratio: float = Field(default=0.02, ge=0, allow_inf_nan=False)
    min_repeats: int = Field(default=8, ge=3)

    @model_validator(mode="after")
    def _metric_exists(self) -> Self:
        if self.metric is not None and self.metric not in OF_CELLS:
            raise ValueError(f"metric: {self.metric!r} is no metric; {allowed_names(self.metric, OF_CELLS)}")
        return self


class Tariff(BaseModel):
    """Price and carbon intensity of a kilowatt-hour; None where they are not given. Units: USD/kWh, g CO2e/kWh."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    price_per_kwh_usd: float | None = Field(default=None, ge=0)
    carbon_g_per_kwh: float | None = Field(default=None, ge=0)


def tariff_metrics(metrics: Mapping[str, float], tariff: Tariff) -> dict[str, float]:
    """Return ``cost_usd`` and ``carbon_g_co2e`` of the GPU energy; absent without a rate or without energy."""
    energy_j = metrics.get("total_gpu_energy_j")
    if energy_j is None:
        return {}
    rates = {"cost_usd": tariff.price_per_kwh_usd, "carbon_g_co2e": tariff.carbon_g_per_kwh}
    return {key: energy_j / _J_PER_KWH * rate for key, rate in rates.items() if rate is not None}


class Settings(BaseModel):
    """All settings of a run beside its matrix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs_dir: str = "runs"
    resume: str | None = None
    extend: bool = False
    executor: Literal["ray", "inline"] = "ray"
    output: Literal["auto", "json"] = "auto"
    order: Literal["shuffled", "counterbalanced", "fewest_starts"] = "shuffled"
    repeats: int = Field(default=1, ge=1)
    stop_when: StopRule = StopRule()
    max_attempts: int = Field(default=3, ge=1)
    tracking: TrackingSettings = TrackingSettings()
    cluster: ClusterSettings = ClusterSettings()
    slo: Slo = Slo()
    tariff: Tariff = Tariff()


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A validated sweep: its cells, each once and in Hydra's order, and the overrides of the command line.

    ``swept`` are the dotted keys that vary (``engine.max_num_seqs``), ``notes`` lines for people (which engine ``auto``
    selected and why); ``question`` is that of the sweep file.
    """

    name: str
    cells: tuple[Cell, ...]
    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    notes: tuple[str, ...]
    question: str | None = None
