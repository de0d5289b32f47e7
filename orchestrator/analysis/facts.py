"""Where two sweeps come from, and in what that differs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.analysis.pairing import text_of
from orchestrator.records.record import CellRecord
from orchestrator.spec.names import dotted

_VOLATILE = ("clock.", "boot_id")


@dataclass(frozen=True, slots=True)
class FactApart:
    """A fact with the values either sweep has for it; empty where one knows nothing of it."""

    name: str
    a: tuple[str, ...]
    b: tuple[str, ...]


def facts(starts: Iterable[Mapping[str, Any]], records: Iterable[CellRecord]) -> dict[str, tuple[str, ...]]:
    """Every fact of a sweep's starts and records by name, with each of its values once: hosts, versions, commits."""
    found: dict[str, dict[str, None]] = {}
    for plain in (*starts, *(_of_record(record) for record in records)):
        for key, value in dotted(plain).items():
            if not key.startswith(_VOLATILE) and value is not None:
                found.setdefault(key, {})[text_of(value)] = None
    return {key: tuple(values) for key, values in found.items()}


def facts_apart(a: Mapping[str, Sequence[str]], b: Mapping[str, Sequence[str]]) -> tuple[FactApart, ...]:
    """The facts whose values differ."""
    return tuple(
        FactApart(key, tuple(a.get(key, ())), tuple(b.get(key, ())))
        for key in dict.fromkeys((*a, *b))
        if set(a.get(key, ())) != set(b.get(key, ()))
    )


def _of_record(record: CellRecord) -> dict[str, Any]:
    window = record.window or {}
    return {
        "simulated": record.simulated,
        "window": {"rule": window.get("rule")},
        **record.provenance,
        **({"host": record.attempts[-1].host} if record.attempts else {}),
    }
