"""What a lane for a cell takes of a cluster."""

from dataclasses import dataclass

from orchestrator.spec.cell import Cell

CPUS_OF_ENGINE = 0.5
CPUS_OF_REST = 0.5
CPUS = CPUS_OF_ENGINE + CPUS_OF_REST
"""What a lane books of Ray's CPUs: for the engine, and for all beside it. Nobody is bound to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """``fills_node`` means that an engine computes on all cores.

    ``exclusive`` holds `EngineOptions.exclusive` of all engines that have one.
    """

    num_gpus: int = 0
    fills_node: bool = False
    exclusive: frozenset[str] = frozenset()

    def bundles(self) -> list[dict[str, float]]:
        """The placement group: the engine's bundle, then that of all else."""
        gpus = {"GPU": float(self.num_gpus)} if self.num_gpus else {}
        return [{"CPU": CPUS_OF_ENGINE, **gpus}, {"CPU": CPUS_OF_REST}]

    def fits(self, num_gpus: float, num_cpus: float) -> bool:
        """Whether a node with this many has place for it, were it empty."""
        return num_gpus >= self.num_gpus and num_cpus >= CPUS

    def text(self) -> str:
        """For messages."""
        gpus = f"{self.num_gpus} GPU{'s' if self.num_gpus > 1 else ''} and " if self.num_gpus else ""
        return f"{gpus}{CPUS:g} CPU on one node"


def need_of(cell: Cell) -> Need:
    """A lane's need for the engines of a cell."""
    engines = [own.engine for own in cell.engine_cells.values()]
    here = [engine for engine in engines if engine.uses_gpus]
    num_gpus = sum(engine.tensor_parallel_size for engine in here) if cell.hardware.num_gpus else 0
    exclusive = frozenset(engine.exclusive for engine in engines if engine.exclusive is not None)
    return Need(num_gpus=num_gpus, fills_node=bool(here) and not num_gpus, exclusive=exclusive)


def sets_gpus(cell: Cell) -> bool:
    """Whether it asks for a limit or clock of real GPUs."""
    hardware = cell.hardware
    return cell.on_gpus and (hardware.power_limit_w is not None or hardware.sm_clock_mhz is not None)
