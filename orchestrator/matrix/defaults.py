"""What ``engine=auto``, ``hardware=auto`` and ``collectors=auto`` become: decided by what the nodes have.

It happens before cells are identified, so a cell never says ``auto``.
"""

import copy
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache, cached_property, reduce
from importlib import resources
from typing import Any, cast

from omegaconf import OmegaConf

from orchestrator import plugins
from orchestrator.errors import UserError
from orchestrator.matrix.expand import Point
from orchestrator.matrix.validate import settings_of
from orchestrator.ray_runtime.preflight import Surroundings, surroundings_of
from orchestrator.spec.cell import Cell
from orchestrator.spec.engine import EngineOptions
from orchestrator.spec.protocol import COMPUTED_POWER, NO_POWER
from orchestrator.spec.settings import Settings

AUTO = "auto"
_SIMULATED_ON = "a100_40gb_sxm"
_REAL = {"warmup_s": 5.0, "max_repetitions": 20}
_COMPUTED = {"warmup_s": 0.0, "max_repetitions": 1}


@dataclass(frozen=True)
class Auto:
    """Decides for the points of one matrix; the nodes are asked once, and only if some point says ``auto``.

    ``resumes_only`` says that the points are not what will be run, so that no node needs to be asked.
    """

    points: tuple[Point, ...]
    resumes_only: bool = False

    @cached_property
    def surroundings(self) -> Surroundings:
        """What the nodes of the sweep's cluster have."""
        if self.resumes_only:
            return Surroundings(gpus=(), has_vllm=False, where="here")
        return surroundings_of(settings_of(self.points[0].config).cluster)

    def decided(self, point: Point) -> dict[str, Any]:
        """The configuration of a point with presets in the place of ``auto``; ``given`` keys hold against them.

        Raises:
            UserError: there is no preset for the GPU that was found.
            EnvironmentFailure: the cluster cannot be asked.
        """
        plain = dict(point.config)
        if point.choices.get("engine") == AUTO:
            plain["engine"] = _preset("engine", self._engine(), plain, point.given)
        engine = plain.get("engine")
        options = _options(engine.get("kind")) if isinstance(engine, Mapping) else None
        if point.choices.get("hardware") == AUTO and options is not None:
            plain["hardware"] = _preset(
                "hardware", self._hardware(options, computed=_computed(engine, options)), plain, point.given
            )
        if isinstance(plain.get("collectors"), Mapping):
            plain["collectors"] = self._collectors(plain["collectors"], plain, options)
        return plain

    def notes(self) -> Iterator[str]:
        """What ``auto`` became and why, for people; each line once."""
        choices = [point.choices for point in self.points]
        if any(choice.get("engine") == AUTO for choice in choices):
            yield f"engine=auto: {self._why_engine()}"
        if any(choice.get("hardware") == AUTO for choice in choices):
            names = (self.decided(point).get("hardware", {}).get("name") for point in self.points)
            told = ", ".join(str(name) for name in dict.fromkeys(names))
            yield f"hardware=auto: the figures of {told}; choose another preset with hardware=NAME"
        if any(choice.get("collectors") == AUTO for choice in choices):
            yield from self._why_collectors()

    def _engine(self) -> str:
        found = self.surroundings
        return "vllm" if found.gpus and found.has_vllm else "simulated"

    def _why_engine(self) -> str:
        found = self.surroundings
        if self._engine() == "vllm":
            return f"vLLM, because {_counted(found.gpus)} were found {found.where}"
        why = f"no NVIDIA GPU was found {found.where}"
        if found.gpus:
            why = f"vLLM is not installed {found.where}, where {_counted(found.gpus)} were found"
        return f"the simulated engine, because {why}; times and energies are computed"

    def _why_collectors(self) -> Iterator[str]:
        """Beside engines that run on the nodes; the power of others is computed or cannot be measured."""
        found = [self.decided(point)["collectors"] for point in self.points]
        measured = [each for each in found if each["power"] == "nvml" or each["cpu_power"] == "rapl"]
        if measured:
            gpus = "GPU power by NVML" if any(each["power"] == "nvml" for each in measured) else "no GPU to measure"
            cpus = f"CPU power by RAPL, which can be read {self.surroundings.where}"
            if not any(each["cpu_power"] == "rapl" for each in measured):
                cpus = f"no CPU power, because RAPL cannot be read {self.surroundings.where}"
            yield f"collectors=auto: {gpus}; {cpus}"

    def _collectors(
        self, given: Mapping[str, Any], plain: Mapping[str, Any], options: type[EngineOptions] | None
    ) -> dict[str, Any]:
        """What is sampled where nobody says: what can be, and is the cell's own."""
        found = dict(given)
        computed = _computed(plain.get("engine"), options)
        here = options is not None and options.uses_gpus and not computed
        if found.get("power") == AUTO:
            measured = "nvml" if here and _has_gpus(plain.get("hardware")) else NO_POWER
            found["power"] = COMPUTED_POWER if computed else measured
        if found.get("cpu_power") == AUTO:
            found["cpu_power"] = "rapl" if here and self.surroundings.has_rapl else NO_POWER
        return found

    def _hardware(self, options: type[EngineOptions], *, computed: bool) -> str:
        gpus = self.surroundings.gpus if computed or options.uses_gpus else ()
        presets = _hardware_by_gpu()
        if gpus and gpus[0] in presets:
            return presets[gpus[0]]
        if computed:
            return _SIMULATED_ON
        if gpus:
            raise UserError(
                f"hardware=auto: no preset is named {gpus[0]!r}, the GPU found {self.surroundings.where}; write one "
                "(docs/extending.md), or choose one with hardware=NAME"
            )
        return "cpu" if options.uses_gpus else "unknown"


def _computed(engine: Any, options: type[EngineOptions] | None) -> bool:
    """Whether times, and so power, are computed; an engine nobody knows is told of when the cell is validated."""
    return options is None or options.simulated or engine.get("clock") == "virtual"


def _has_gpus(hardware: Any) -> bool:
    return isinstance(hardware, Mapping) and hardware.get("num_gpus") != 0


def _counted(names: tuple[str, ...]) -> str:
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _options(kind: object) -> type[EngineOptions] | None:
    try:
        found = plugins.part("orchestrator.engines", str(kind), "Options")
    except UserError:
        return None
    return found if isinstance(found, type) and issubclass(found, EngineOptions) else None


def _preset(group: str, name: str, plain: Mapping[str, Any], given: Set[str]) -> dict[str, Any]:
    """A shipped preset with what was given for its group put over it."""
    found = copy.deepcopy(_read(group, name))
    for key in sorted(given):
        first, *path = key.split(".")
        if first == group and path:
            _put(found, path, reduce(operator.getitem, path, plain[group]))
    return found


def _put(into: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for step in path[:-1]:
        into = into.setdefault(step, {})
    into[path[-1]] = value


@cache
def _hardware_by_gpu() -> dict[str, str]:
    """Names of the shipped presets by the product name of their GPU."""
    files = (resources.files("conf") / "hardware").iterdir()
    names = sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
    return {str(_read("hardware", name).get("name")): name for name in names}


@cache
def _read(group: str, name: str) -> dict[str, Any]:
    text = (resources.files("conf") / group / f"{name}.yaml").read_text(encoding="utf-8")
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(text), resolve=False))


def with_protocol(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with numbers in the place of ``auto`` in its ``protocol``."""
    protocol = plain.get("protocol")
    if not isinstance(protocol, Mapping):
        return dict(plain)
    auto = _COMPUTED if _is_computed(plain.get("engine")) else _REAL
    decided = {key: auto[key] if key in auto and value == AUTO else value for key, value in protocol.items()}
    return {**plain, "protocol": decided}


def _is_computed(engine: Any) -> bool:
    """Whether nothing real runs; an engine nobody knows is told of when the cell is validated."""
    if not isinstance(engine, Mapping):
        return True
    try:
        options = plugins.part("orchestrator.engines", str(engine.get("kind")), "Options")
    except UserError:
        return True
    known = isinstance(options, type) and issubclass(options, EngineOptions)
    return not known or options.simulated or engine.get("clock") == "virtual"


def with_executor(cell: Cell, config: Mapping[str, Any]) -> Cell:
    """The cell as its configuration says; where that says nothing, a real engine's workflows are Ray task graphs."""
    said = config["workflow"].get("executor")
    if said is not None or cell.engine.simulated or cell.engine.clock == "virtual":
        return cell
    return cell.model_copy(update={"workflow": cell.workflow.model_copy(update={"executor": "ray"})})


def refuse_ray_inline(cells: Iterable[Cell], settings: Settings) -> None:
    """There is no Ray where cells run in this process.

    Raises:
        UserError: a cell's workflows are Ray task graphs and ``executor`` is inline.
    """
    if settings.executor == "inline" and any(cell.workflow.executor == "ray" for cell in cells):
        raise UserError(
            "executor=inline: workflows on a real engine run on Ray unless told; add workflow.executor=local"
        )
