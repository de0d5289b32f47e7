"""What a run is told beside its cells: where results go, what Ray to use, how cells are judged. In no identity."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.cell import Cell
from orchestrator.slo import Slo
from orchestrator.stop_rule import StopRule
from orchestrator.tariff import Tariff


class TrackingSettings(BaseModel):
    """MLflow: an SQLite file or the address of a server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    uri: str = "sqlite:///mlflow.db"
    experiment: str = "joulegrid"


class ClusterSettings(BaseModel):
    """The Ray to run on: ``local`` starts one; ``auto`` or an address joins a running cluster as it is.

    ``num_workers`` bounds the cells in flight. The timeouts bound what Ray and engines may take: to find a place, to
    load a model, and to give everything back, GPU memory too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = "local"
    num_workers: int | None = Field(default=None, ge=1)
    placement_timeout_s: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    engine_start_timeout_s: float = Field(default=900.0, gt=0, allow_inf_nan=False)
    teardown_timeout_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)


class Settings(BaseModel):
    """Everything `run` needs beside the matrix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs_dir: str = "runs"
    resume: str | None = None
    extend: bool = False
    executor: Literal["ray", "inline"] = "ray"
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
    """A validated sweep: its name, its cells in the order Hydra gave (each once), and what was asked for.

    ``swept`` are the dotted keys that vary (``engine.max_num_seqs``), ``notes`` plain lines for people (which
    engine ``auto`` became and why), ``question`` what the sweep file says it asks.
    """

    name: str
    cells: tuple[Cell, ...]
    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    notes: tuple[str, ...]
    question: str | None = None
