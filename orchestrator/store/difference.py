"""What sets a matrix apart from the sweep it is to resume, in the keys of the command line."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.spec.cell import Cell
from orchestrator.spec.names import dotted

_MAX_KEYS = 4
_MAX_VALUES = 6


@dataclass(frozen=True, slots=True)
class Difference:
    """Ids of the cells that only the matrix has, and of those that only the sweep has."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    keys: str

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    def __str__(self) -> str:
        parts = [f"{len(ids)} {word}" for ids, word in ((self.added, "added"), (self.removed, "removed")) if ids]
        return f"cells: {', '.join(parts)}" + (f" ({self.keys})" if self.keys else "")


def difference(old: Iterable[Cell], new: Iterable[Cell]) -> Difference:
    """Compare two matrices as sets of cells."""
    before = {cell.cell_id: cell for cell in old}
    after = {cell.cell_id: cell for cell in new}
    return Difference(
        added=tuple(cell_id for cell_id in after if cell_id not in before),
        removed=tuple(cell_id for cell_id in before if cell_id not in after),
        keys=_keys_apart(before, after),
    )


def _keys_apart(before: Mapping[str, Cell], after: Mapping[str, Cell]) -> str:
    old, new = _values(before.values()), _values(after.values())
    apart = [key for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)]
    shown = [f"{key}: {_show(old.get(key))} then, {_show(new.get(key))} now" for key in apart[:_MAX_KEYS]]
    more = [f"{len(apart) - _MAX_KEYS} more keys"] if len(apart) > _MAX_KEYS else []
    return "; ".join(shown + more)


def _values(cells: Iterable[Cell]) -> dict[str, set[str]]:
    values: dict[str, set[str]] = {}
    for cell in cells:
        for key, value in dotted(cell.model_dump(mode="json")).items():
            values.setdefault(key, set()).add(_text(value))
    return values


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _show(values: set[str] | None) -> str:
    if values is None:
        return "none"
    ordered = sorted(values, key=lambda text: (len(text), text))
    return ",".join(ordered[:_MAX_VALUES]) + (",…" if len(ordered) > _MAX_VALUES else "")
