"""A cell: one point of the matrix, everything needed to run it again and nothing about where it ran."""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from orchestrator import plugins
from orchestrator.engine import EngineOptions
from orchestrator.errors import InfeasibleCell, UserError
from orchestrator.hardware_spec import CpuSpec, HardwareSpec
from orchestrator.model_spec import ModelSpec
from orchestrator.records.record import SCHEMA_VERSION
from workflows.load import LoadOptions
from workflows.source import WorkflowOptions

MAIN = "main"
"""Name of the engine that answers every role without one of its own."""


NO_POWER = "none"
"""In the place of a source: nothing is sampled."""


CPU_SOURCES = ("rapl",)
"""Files of `collectors.sources` that tell the power of CPUs."""


_ENGINE_KEY_FIELDS = ("model", "engine", "roles", "seed")


_WARMUP_SEEDS = 2**48
"""From here on: beyond the seeds of measured work."""


def _decoded_by(package: str) -> BeforeValidator:
    """Decode a plug-in's options with the ``Options`` class of the plug-in that ``kind`` names."""

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kind = value.get("kind")
        if not isinstance(kind, str):
            raise ValueError(f"kind must name one of {', '.join(plugins.available(package))}, got {kind!r}")
        try:
            options = plugins.part(package, kind, "Options")
            with plugins.blamed(kind):
                return options.model_validate(value)
        except UserError as error:
            raise ValueError(f"kind: {error}") from error

    return BeforeValidator(decode)


class RoleEngine(BaseModel):
    """The engine that answers a role of the workflow, beside the cell's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: ModelSpec
    engine: Annotated[SerializeAsAny[EngineOptions], _decoded_by("orchestrator.engines")]


def gpu_sources() -> tuple[str, ...]:
    """What ships to tell the power of GPUs."""
    return tuple(kind for kind in plugins.available("collectors.sources") if kind not in CPU_SOURCES)


class CollectorsSpec(BaseModel):
    """What is sampled beside the engine, and how often.

    ``power`` is of the GPUs: a file of `collectors.sources` or a dotted path to one of the user's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    power: str = "simulated"
    cpu_power: Literal["rapl", "none"] = "none"
    period_s: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    path: str | None = Field(default=None, min_length=1, description="the file that collectors.power=replay replays")

    @field_validator("power")
    @classmethod
    def _power_is_known(cls, value: str) -> str:
        shipped = gpu_sources()
        if "." in value:
            try:
                plugins.part("collectors.sources", value, "build")
            except UserError as error:
                raise ValueError(str(error)) from error
        elif value not in (NO_POWER, *shipped):
            allowed = ", ".join(("auto", NO_POWER, *shipped))
            raise ValueError(f"must be one of {allowed}, or a dotted module path, got {value!r}")
        return value

    @model_validator(mode="after")
    def _path_is_what_is_replayed(self) -> "CollectorsSpec":
        if self.power == "replay" and self.path is None:
            raise ValueError("path: must name the file that power=replay replays, got null")
        if self.power in (NO_POWER, "simulated", "nvml") and self.path is not None:
            raise ValueError(f"path: must be null beside power={self.power}, got {self.path!r}")
        return self

    @property
    def samples(self) -> bool:
        """Whether sensors are read while the cell runs."""
        return self.samples_gpus or self.cpu_power != NO_POWER

    @property
    def samples_gpus(self) -> bool:
        """Whether sensors of GPUs are read while the cell runs."""
        return self.power not in (NO_POWER, "simulated")


class ProtocolSpec(BaseModel):
    """How a cell is measured (docs/method.md, "Protocol"). The defaults are those of a cell in virtual time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    idle_baseline_s: float = Field(default=2.0, ge=0, allow_inf_nan=False)
    open_loop_warmup_share: float = Field(default=0.1, ge=0, lt=1)
    min_window_s: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    max_send_delay_ms: float = Field(default=100.0, gt=0, allow_inf_nan=False)
    max_sample_gap_s: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    max_energy_gap_ratio: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    max_energy_uncertainty_ratio: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    max_throttled_ratio: float = Field(default=0.01, ge=0, le=1)
    stall_timeout_s: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    warmup_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    warmup_workflows: int = Field(default=0, ge=0)
    max_repetitions: int = Field(default=1, ge=1)
    cooldown_below_c: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="a temperature in °C")
    cooldown_band_c: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="a number of °C")
    cooldown_timeout_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)

    @property
    def warms_up(self) -> bool:
        """Whether a cell runs work that is not measured first."""
        return self.warmup_s > 0 or self.warmup_workflows > 0

    @property
    def cools_down(self) -> bool:
        """Whether a cell waits for its GPUs to be cool."""
        return self.cooldown_below_c is not None or self.cooldown_band_c is not None


def _decode_hardware(value: Any) -> Any:
    """A node without GPUs has other fields than one with."""
    if not isinstance(value, dict):
        return value
    return (CpuSpec if value.get("num_gpus") == 0 else HardwareSpec).model_validate(value)


class Cell(BaseModel):
    """One experiment. Equal cells have equal ids; ``repeat`` is part of the identity."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: ModelSpec
    engine: Annotated[SerializeAsAny[EngineOptions], _decoded_by("orchestrator.engines")]
    hardware: Annotated[HardwareSpec | CpuSpec, BeforeValidator(_decode_hardware)]
    workflow: Annotated[SerializeAsAny[WorkflowOptions], _decoded_by("workflows.library")]
    load: LoadOptions
    collectors: CollectorsSpec = CollectorsSpec()
    protocol: ProtocolSpec = ProtocolSpec()
    roles: dict[str, RoleEngine] = {}
    seed: int = Field(default=0, ge=0)
    repeat: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _executor_fits_clock(self) -> "Cell":
        if self.workflow.executor == "ray" and self.engine.clock == "virtual":
            raise ValueError("workflow.executor=ray runs in real time; with engine.clock=virtual only local is allowed")
        return self

    @model_validator(mode="after")
    def _engines_are_of_a_kind(self) -> "Cell":
        for role, own in self.roles.items():
            if role == MAIN:
                raise ValueError(f"roles.{MAIN} is the name of the cell's own engine: call the role something else")
            for name in ("clock", "simulated"):
                main, other = getattr(self.engine, name), getattr(own.engine, name)
                if main != other:
                    raise ValueError(
                        f"roles.{role}.engine: {name} is {other} and that of the cell's own engine {main}; "
                        "all engines of a cell run in one time, simulated or real"
                    )
        return self

    def canonical(self) -> dict[str, Any]:
        """The cell as plain data, fields equal to their default left out; `Cell.model_validate` reads it back."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @cached_property
    def cell_id(self) -> str:
        """First 12 hex digits of SHA-256 over the canonical JSON and the schema version."""
        return _digest({"schema": SCHEMA_VERSION, **self.canonical()})

    @cached_property
    def configuration(self) -> str:
        """Identity of what repeats of a cell share: everything but ``repeat``."""
        return _digest({key: value for key, value in self.canonical().items() if key != "repeat"})

    @cached_property
    def engine_key(self) -> str:
        """Identity of what needs an engine restart: equal keys can share a loaded engine."""
        plain = self.canonical()
        needed = {name: plain[name] for name in _ENGINE_KEY_FIELDS if name in plain}
        return _digest({**needed, "gpu": self.hardware.name})

    @property
    def on_gpus(self) -> bool:
        """Whether an engine of the cell runs on GPUs of the node it is placed on."""
        return self.hardware.num_gpus > 0 and any(own.engine.uses_gpus for own in self.engine_cells.values())

    @property
    def engine_of_role(self) -> dict[str, str]:
        """Names of the engines that answer roles beside ``main``: their roles, equal engines being one engine."""
        main = RoleEngine.model_construct(model=self.model, engine=self.engine)
        roles = {
            role: sorted(other for other in self.roles if self.roles[other] == own)
            for role, own in self.roles.items()
            if own != main
        }
        return {role: "+".join(same) for role, same in roles.items()}

    @property
    def engine_cells(self) -> dict[str, "Cell"]:
        """The cell as each of its engines sees it, by the engine's name: that engine is its only one."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        found = {MAIN: self if not self.roles else Cell(**{**fields, "roles": {}})}
        for role, name in self.engine_of_role.items():
            own = self.roles[role]
            found[name] = Cell(**{**fields, "roles": {}, "model": own.model, "engine": own.engine})
        return found

    @property
    def gpu(self) -> HardwareSpec:
        """The figures of the GPUs.

        Raises:
            InfeasibleCell: there are none, so nothing can be simulated or predicted.
        """
        if not isinstance(self.hardware, HardwareSpec):
            raise InfeasibleCell(
                f"hardware={self.hardware.name} has no GPU, which engine.kind={self.engine.kind} needs figures of; "
                "choose a preset with hardware=NAME"
            )
        return self.hardware

    @property
    def workload_seed(self) -> int:
        """Seed of everything random in the cell: repeats of a cell draw different work."""
        return self.seed * 1_000_003 + self.repeat

    @property
    def warmup_seed(self) -> int:
        """Seed of what is run before the measured work, which shares nothing with it."""
        return _WARMUP_SEEDS + self.workload_seed


def _digest(plain: dict[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
