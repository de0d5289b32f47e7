"""A Hydra sweeper that passes the whole matrix to the task function in one call, without launching jobs."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class JoulegridSweeperConf:
    """The schema of ``hydra.sweeper``: ``params`` maps a swept key to its values, as in Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.joulegrid.sweeper.JoulegridSweeper"
    params: dict[str, str] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="joulegrid", node=JoulegridSweeperConf, provider="joulegrid")


class JoulegridSweeper(Sweeper):
    """Expands the axes of the sweep file and of the command line; selected by ``override hydra/sweeper: joulegrid``."""

    def __init__(self, params: dict[str, str]) -> None:
        """Accept the arguments of Hydra's instantiation; `sweep` reads ``params`` from each sweep file instead."""
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what `sweep` needs; there is no launcher."""
        self._loader = hydra_context.config_loader
        self._task_function = task_function
        self._master = config

    def sweep(self, arguments: list[str]) -> Any:
        """Compose every point of the matrix and pass them to the task function in one call."""
        from orchestrator.matrix.expand import expand

        return self._task_function(expand(self._loader, self._master, arguments))
