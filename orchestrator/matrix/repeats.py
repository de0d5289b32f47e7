"""``protocol.repeats``: every cell several times, block by block; and what the stop rule can do about it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from orchestrator.errors import UserError
from orchestrator.matrix.expand import Point
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Settings, StopRule

REPEAT = "repeat"


def repeated(cells: Sequence[Cell], points: Iterable[Point], settings: Settings) -> tuple[Cell, ...]:
    """The cells as repeat 0, then as repeat 1, and so on; as they are where ``protocol.repeats`` is 1.

    Raises:
        UserError: the sweep or the command line gives ``repeat`` itself.
    """
    if settings.repeats == 1:
        return tuple(cells)
    if any(REPEAT in point.given for point in points):
        raise UserError(
            f"protocol.repeats: must be 1 where {REPEAT} is given, got {settings.repeats}; leave one of them out"
        )
    return tuple(_as_repeat(cell, repeat) for repeat in range(settings.repeats) for cell in cells)


def least_cells(cells: Iterable[Cell], rule: StopRule) -> int:
    """How many of the cells run even if the stop rule is met as early as it can be."""
    repeats = Counter(cell.configuration for cell in cells).values()
    return sum(n if rule.metric is None else min(n, rule.min_repeats) for n in repeats)


def stop_notes(cells: Iterable[Cell], settings: Settings) -> Iterator[str]:
    """What the stop rule will do, for people."""
    rule = settings.stop_when
    if rule.metric is None:
        return
    most = max(Counter(cell.configuration for cell in cells).values())
    if most <= rule.min_repeats:
        yield (
            f"protocol.stop_when stops nothing: no configuration has more than {most} repeats, of which "
            f"{rule.min_repeats} run in any case (protocol.stop_when.min_repeats); protocol.repeats gives more"
        )
        return
    yield (
        f"a configuration has {rule.min_repeats} to {most} repeats: no more once the 95 % half-width of {rule.metric} "
        f"is at most {rule.half_width_ratio:g} of its mean (protocol.stop_when)"
    )


def _as_repeat(cell: Cell, repeat: int) -> Cell:
    return Cell(**{**{name: getattr(cell, name) for name in Cell.model_fields}, REPEAT: repeat})
