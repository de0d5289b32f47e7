"""What can be known to fail before a sweep begins, by asking the surroundings rather than the cells."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from orchestrator import plugins
from orchestrator.errors import EnvironmentFailure
from orchestrator.monitor.limits import Asked, asked_of, refusals_here
from orchestrator.monitor.timeout import DriverHangs, within
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import ClusterSettings, Settings

_TIMEOUT_S = 120.0
T = TypeVar("T")


def preflight(cells: Sequence[Cell], settings: Settings) -> None:
    """Let every engine that wants to look around do so, once for each of its keys; ask whether GPUs may be set.

    Raises:
        EnvironmentFailure: an engine could not be used, or no node lets us set what the cells ask for.
    """
    _look_around(cells)
    asked = asked_of(cells)
    if asked:
        _check_knobs(asked, settings)


def _look_around(cells: Iterable[Cell]) -> None:
    for cell in {cell.engine_key: cell for cell in cells}.values():
        for own in cell.engine_cells.values():
            look = getattr(plugins.load("orchestrator.engines", own.engine.kind), "preflight", None)
            if look is not None:
                with plugins.blamed(own.engine.kind):
                    look(own)


def _check_knobs(asked: Sequence[Asked], settings: Settings) -> None:
    """One node that lets us is enough: the others get no lane."""
    for refusals in zip(*_refusals(asked, settings), strict=True):
        if all(refusals):
            raise EnvironmentFailure(str(refusals[0]))


def _refusals(asked: Sequence[Asked], settings: Settings) -> list[Sequence[str | None]]:
    """Of every node that has such GPUs."""
    if settings.executor == "inline" or settings.cluster.address == "local":
        here = _within(lambda: refusals_here(asked))
        return [] if here is None else [here]
    return _of_nodes(asked, settings.cluster)


def _within(ask: Callable[[], T]) -> T:
    try:
        return within(_TIMEOUT_S, "told whether its GPUs may be set", ask)
    except DriverHangs as error:
        raise EnvironmentFailure(str(error)) from error


def _of_nodes(asked: Sequence[Asked], cluster: ClusterSettings) -> list[Sequence[str | None]]:
    from orchestrator.execution.node_probe import node_refusals

    return [found for found in node_refusals(cluster.address, asked) if found is not None]
