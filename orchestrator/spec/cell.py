"""A cell: one point of the matrix, with everything needed to run it again and nothing about where it ran."""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, model_validator

from orchestrator import plugins
from orchestrator.errors import InfeasibleCell, UserError
from orchestrator.records.record import SCHEMA_VERSION
from orchestrator.spec.engine import EngineOptions
from orchestrator.spec.hardware import CpuSpec, HardwareSpec
from orchestrator.spec.model import ModelSpec
from orchestrator.spec.protocol import MAIN, CollectorsSpec, ProtocolSpec
from workflows.load import LoadOptions
from workflows.source import WorkflowOptions

_ENGINE_KEY_FIELDS = ("model", "engine", "roles", "seed")

_WARMUP_SEEDS = 2**48
"""Added to a workload seed: beyond the seeds of measured work."""


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
            with plugins.user_errors(kind):
                return options.model_validate(value)
        except UserError as error:
            raise ValueError(f"kind: {error}") from error

    return BeforeValidator(decode)


class RoleEngine(BaseModel):
    """An engine for one role of the workflow, beside the cell's own engine."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: ModelSpec
    engine: Annotated[SerializeAsAny[EngineOptions], _decoded_by("orchestrator.engines")]


def _decode_hardware(value: Any) -> Any:
    """Decode a node with or without GPUs, which have different fields."""
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
    def _engines_are_alike(self) -> "Cell":
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
        """Return the cell as plain data without fields equal to their default, for `Cell.model_validate`."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @cached_property
    def cell_id(self) -> str:
        """The first 12 hex digits of SHA-256 over canonical JSON and schema version."""
        return _digest({"schema": SCHEMA_VERSION, **self.canonical()})

    @cached_property
    def configuration(self) -> str:
        """Identity of the configuration that repeats share: everything but ``repeat``."""
        return _digest({key: value for key, value in self.canonical().items() if key != "repeat"})

    @cached_property
    def engine_key(self) -> str:
        """Identity of the loaded engine: cells with equal keys can share one."""
        plain = self.canonical()
        needed = {name: plain[name] for name in _ENGINE_KEY_FIELDS if name in plain}
        return _digest({**needed, "gpu": self.hardware.name})

    @property
    def on_gpus(self) -> bool:
        """Whether an engine of the cell runs on GPUs of its node."""
        return self.hardware.num_gpus > 0 and any(own.engine.uses_gpus for own in self.engine_cells.values())

    @property
    def engine_of_role(self) -> dict[str, str]:
        """For each role with an engine other than ``main``, the name of that engine; equal engines are one engine."""
        main = RoleEngine.model_construct(model=self.model, engine=self.engine)
        roles = {
            role: sorted(other for other in self.roles if self.roles[other] == own)
            for role, own in self.roles.items()
            if own != main
        }
        return {role: "+".join(same) for role, same in roles.items()}

    @property
    def engine_cells(self) -> dict[str, "Cell"]:
        """By engine name, the cell with only that engine."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        cells = {MAIN: self if not self.roles else Cell(**{**fields, "roles": {}})}
        for role, name in self.engine_of_role.items():
            own = self.roles[role]
            cells[name] = Cell(**{**fields, "roles": {}, "model": own.model, "engine": own.engine})
        return cells

    @property
    def gpu(self) -> HardwareSpec:
        """The GPUs of the cell's node.

        Raises:
            InfeasibleCell: The node has none, so nothing can be simulated or predicted.
        """
        if not isinstance(self.hardware, HardwareSpec):
            raise InfeasibleCell(
                f"hardware={self.hardware.name} has no GPU, but engine.kind={self.engine.kind} needs figures of one; "
                "choose a preset with hardware=NAME"
            )
        return self.hardware

    @property
    def workload_seed(self) -> int:
        """Seed of all random work in the cell; it differs between repeats."""
        return self.seed * 1_000_003 + self.repeat

    @property
    def warmup_seed(self) -> int:
        """Seed of the work before the measured work, so that the two share nothing."""
        return _WARMUP_SEEDS + self.workload_seed


def _digest(plain: dict[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
