"""Decide every default of a cell that depends on something else; fixed defaults stand in the presets and fields.

=====================================  =========================================
``auto`` in engine, hardware           what the nodes have
``auto`` in collectors                 the engine and what the nodes can measure
``auto`` in protocol                   whether the engine is computed
``model`` with a ``config_path``       the file
``roles``                              the cell's own model and engine
``workflow.executor``                  whether the engine is computed
=====================================  =========================================

All are decided before cells are identified, so that no cell holds ``auto``.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.errors import UserError
from orchestrator.matrix.errors import plugin_options
from orchestrator.matrix.expand import Point
from orchestrator.matrix.presets import hardware_presets, read_preset, with_model_file
from orchestrator.matrix.validate import settings_of
from orchestrator.ray_runtime.preflight import Surroundings, surroundings_of
from orchestrator.spec.engine import EngineOptions
from orchestrator.spec.protocol import COMPUTED_POWER, NO_POWER

AUTO = "auto"
LOAD_DEFAULTS = ("default_users", "default_num_workflows")
"""Keys of a workflow preset that `conf/load/closed.yaml` reads; they are no options of the workflow itself."""

_SIMULATED_ON = "a100_40gb_sxm"
_REAL_PROTOCOL = {"warmup_s": 5.0, "max_repetitions": 20}
_COMPUTED_PROTOCOL = {"warmup_s": 0.0, "max_repetitions": 1}
_ROLE_PARTS = {"model": "name", "engine": "kind"}
"""Parts of a role that default to the cell's own, and the key that marks a complete preset."""


@dataclass(frozen=True)
class Defaults:
    """Defaults of one matrix; the nodes are probed at most once, and only where a point says ``auto``.

    ``resumes_only`` states that the points will not run, so that no node is probed.
    """

    points: tuple[Point, ...]
    resumes_only: bool = False

    @cached_property
    def configs(self) -> tuple[dict[str, Any], ...]:
        """The complete configuration of each point; keys that the user gave take precedence over defaults.

        Raises:
            UserError: no preset describes the GPU, a model file cannot be read, or a role is malformed.
            EnvironmentFailure: the cluster cannot be probed.
        """
        return tuple(map(self._complete, self.points))

    @cached_property
    def surroundings(self) -> Surroundings:
        """What the nodes of the sweep's cluster have."""
        if self.resumes_only:
            return Surroundings(gpus=(), has_vllm=False, where="here")
        return surroundings_of(settings_of(self.points[0].config).cluster)

    def notes(self) -> Iterator[str]:
        """Yield one line for each group that was ``auto``: the choice and its reason."""
        groups = {group for point in self.points for group, option in point.choices.items() if option == AUTO}
        if "engine" in groups:
            yield f"engine=auto: {self._engine_note()}"
        if "hardware" in groups:
            names = dict.fromkeys(str(config.get("hardware", {}).get("name")) for config in self.configs)
            yield f"hardware=auto: the figures of {', '.join(names)}; choose another preset with hardware=NAME"
        if "collectors" in groups:
            yield from self._collectors_note()

    def _complete(self, point: Point) -> dict[str, Any]:
        config = dict(point.config)
        if point.choices.get("engine") == AUTO:
            config["engine"] = read_preset("engine", self._engine(), config, point.given)
        options = _engine_options(config.get("engine"))
        computed = options is None or _is_computed(config["engine"], options)
        if point.choices.get("hardware") == AUTO and options is not None:
            name = self._hardware(uses_gpus=options.uses_gpus, computed=computed)
            config["hardware"] = read_preset("hardware", name, config, point.given)
        if isinstance(config.get("collectors"), Mapping):
            on_gpus = options is not None and options.uses_gpus and not computed
            config["collectors"] = self._collectors(config, on_gpus=on_gpus, computed=computed)
        if isinstance(config.get("model"), Mapping):
            config["model"] = with_model_file(config["model"], point.given, "model")
        if "roles" in config:
            config["roles"] = _roles(config["roles"], config, point.given)
        if isinstance(config.get("protocol"), Mapping):
            config["protocol"] = _protocol(config["protocol"], computed=computed)
        if isinstance(config.get("workflow"), Mapping):
            config["workflow"] = _workflow(config["workflow"], computed=computed)
        return config

    def _engine(self) -> str:
        return "vllm" if self.surroundings.gpus and self.surroundings.has_vllm else "simulated"

    def _hardware(self, *, uses_gpus: bool, computed: bool) -> str:
        gpus = self.surroundings.gpus if computed or uses_gpus else ()
        presets = hardware_presets()
        if gpus and gpus[0] in presets:
            return presets[gpus[0]]
        if computed:
            return _SIMULATED_ON
        if gpus:
            raise UserError(
                f"hardware=auto: no preset is named {gpus[0]!r}, the GPU found {self.surroundings.where}; write one "
                "(docs/extending.md), or choose one with hardware=NAME"
            )
        return "cpu" if uses_gpus else "unknown"

    def _collectors(self, config: Mapping[str, Any], *, on_gpus: bool, computed: bool) -> dict[str, Any]:
        """Sample what can be measured and belongs to the cell alone."""
        collectors, hardware = dict(config["collectors"]), config.get("hardware")
        if collectors.get("power") == AUTO:
            has_gpus = isinstance(hardware, Mapping) and hardware.get("num_gpus") != 0
            measured = "nvml" if on_gpus and has_gpus else NO_POWER
            collectors["power"] = COMPUTED_POWER if computed else measured
        if collectors.get("cpu_power") == AUTO:
            collectors["cpu_power"] = "rapl" if on_gpus and self.surroundings.has_rapl else NO_POWER
        return collectors

    def _engine_note(self) -> str:
        nodes = self.surroundings
        if self._engine() == "vllm":
            return f"vLLM, because {_counted(nodes.gpus)} were found {nodes.where}"
        reason = f"no NVIDIA GPU was found {nodes.where}"
        if nodes.gpus:
            reason = f"vLLM is not installed {nodes.where}, where {_counted(nodes.gpus)} were found"
        return f"the simulated engine, because {reason}; times and energies are computed"

    def _collectors_note(self) -> Iterator[str]:
        """Yield a line if some cell samples power; that of other engines is computed or cannot be measured."""
        sources = {(config["collectors"]["power"], config["collectors"]["cpu_power"]) for config in self.configs}
        samples_gpus = any(power == "nvml" for power, _ in sources)
        samples_cpus = any(cpu_power == "rapl" for _, cpu_power in sources)
        if samples_gpus or samples_cpus:
            gpus = "GPU power by NVML" if samples_gpus else "no GPU to measure"
            cpus = f"CPU power by RAPL, which can be read {self.surroundings.where}"
            if not samples_cpus:
                cpus = f"no CPU power, because RAPL cannot be read {self.surroundings.where}"
            yield f"collectors=auto: {gpus}; {cpus}"


def _engine_options(engine: Any) -> type[EngineOptions] | None:
    """Return the options of the engine's plug-in; None if there is none, which the validation of the cell reports."""
    options = plugin_options("engine", engine.get("kind")) if isinstance(engine, Mapping) else None
    return options if options is not None and issubclass(options, EngineOptions) else None


def _is_computed(engine: Mapping[str, Any], options: type[EngineOptions]) -> bool:
    """Return whether times, and so power, are computed."""
    return options.simulated or engine.get("clock", options.model_fields["clock"].default) == "virtual"


def _counted(names: tuple[str, ...]) -> str:
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _roles(roles: Any, cell: Mapping[str, Any], given: Set[str]) -> dict[str, Any]:
    """Complete each role from the cell: the model, the engine, or single keys of either."""
    if not isinstance(roles, Mapping):
        raise UserError(f"roles: must be a mapping of roles to engines, got {roles!r}")
    return {role: _role(str(role), engine, cell, given) for role, engine in roles.items()}


def _role(role: str, engine: Any, cell: Mapping[str, Any], given: Set[str]) -> dict[str, Any]:
    if not isinstance(engine, Mapping):
        raise UserError(f"roles.{role}: must be a mapping with model, engine or both, got {engine!r}")
    parts = dict(engine)
    if isinstance(parts.get("model"), Mapping):
        parts["model"] = with_model_file(parts["model"], given, f"roles.{role}.model")
    for key, marker in _ROLE_PARTS.items():
        part, default = parts.get(key), cell.get(key)
        if part is None:
            parts[key] = default
        elif isinstance(part, Mapping) and marker not in part and isinstance(default, Mapping):
            parts[key] = {**default, **part}
    return parts


def _protocol(protocol: Mapping[str, Any], *, computed: bool) -> dict[str, Any]:
    defaults = _COMPUTED_PROTOCOL if computed else _REAL_PROTOCOL
    return {key: defaults[key] if key in defaults and value == AUTO else value for key, value in protocol.items()}


def _workflow(workflow: Mapping[str, Any], *, computed: bool) -> dict[str, Any]:
    """Run the workflows of a real engine as Ray task graphs unless an executor is given; null gives none."""
    options: dict[str, Any] = _without_load_defaults(workflow)
    if options.get("executor") is None:
        options.pop("executor", None)
        if not computed:
            options["executor"] = "ray"
    return options


def _without_load_defaults(value: Any) -> Any:
    """Remove `LOAD_DEFAULTS` at any depth: the tenants of a mix may be presets too."""
    if not isinstance(value, Mapping):
        return value
    return {key: _without_load_defaults(inner) for key, inner in value.items() if key not in LOAD_DEFAULTS}
