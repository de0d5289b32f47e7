"""``compare A B``: pair two sweeps by cell; show how their provenance differs, then which metrics changed."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from orchestrator.analysis.comparison import (
    HEADLINES,
    PANEL_KEYS,
    Comparison,
    FactApart,
    Finding,
    compare,
    facts,
    facts_apart,
)
from orchestrator.analysis.pairs import Measured, measured
from orchestrator.cli import Arguments, CommandResult, parse_arguments
from orchestrator.errors import UserError, allowed_names
from orchestrator.records.metrics import BLOCK_HALF_WIDTH, OF_CELLS
from orchestrator.records.record import CellRecord
from orchestrator.report.comparison_text import show
from orchestrator.store.paths import find_sweep
from orchestrator.store.sweep import SweepStore

_OPTIONS = ("runs_dir", "metrics", "by", "differs")
_ALL = "all"
_USAGE = "A B [runs_dir=runs] [metrics=KEY,…|all] [by=KEY,…] [differs=KEY,…]"


@dataclass(frozen=True, slots=True)
class _Sweep:
    store: SweepStore
    records: tuple[CellRecord, ...]
    cells: tuple[Measured, ...]


def main(arguments: list[str]) -> CommandResult:
    """Compare two sweeps; the exit code is 0 whether or not anything changed.

    Raises:
        UserError: a sweep, metric or key does not exist, or the two must not be compared.
    """
    given = parse_arguments("compare", _USAGE, arguments, _OPTIONS)
    if len(given.words) != 2:
        raise UserError(f"compare takes two sweeps (ids or folders), got {' '.join(given.words) or 'none'}")
    a, b = (_read(word, given) for word in given.words)
    comparison = compare(
        a.cells,
        b.cells,
        metrics=_metrics(given, (*a.cells, *b.cells)),
        by=_panel_keys(given, (*a.cells, *b.cells)),
        declared=given.names("differs"),
    )
    apart = facts_apart(
        _facts(a, [pair.a for pair in comparison.pairs]), _facts(b, [pair.b for pair in comparison.pairs])
    )
    names = (a.store.sweep_id, b.store.sweep_id)
    show(Console(highlight=False, width=_width()), comparison, apart, names, swept=_swept(a, b))
    return CommandResult(0, _fields(comparison, apart, names))


def _read(word: str, given: Arguments) -> _Sweep:
    store = SweepStore.open(find_sweep(given.runs_dir, word).root)
    records = tuple(store.records())
    return _Sweep(store, records, tuple(measured(record) for record in records))


def _facts(sweep: _Sweep, paired: Iterable[Measured]) -> dict[str, tuple[str, ...]]:
    """Return the facts of a sweep's starts and of its paired cells; other cells affect no pair."""
    ids = {cell.cell_id for cell in paired}
    starts = (start.provenance for start in sweep.store.manifest.starts)
    return facts(starts, (record for record in sweep.records if record.cell_id in ids))


def _metrics(given: Arguments, cells: Sequence[Measured]) -> tuple[str, ...]:
    measured_keys = (key for c in cells for key in c.metrics if not key.startswith(BLOCK_HALF_WIDTH))
    known = tuple(dict.fromkeys((*OF_CELLS, *measured_keys)))
    wanted = given.names("metrics")
    if wanted == (_ALL,):
        return known
    for key in wanted:
        if key not in known:
            raise UserError(f"compare: there is no metric {key!r}; {allowed_names(key, (_ALL, *known))}")
    return wanted or HEADLINES


def _panel_keys(given: Arguments, cells: Sequence[Measured]) -> tuple[str, ...]:
    known = {key for cell in cells for key in cell.config}
    for key in given.names("by"):
        if key not in known:
            raise UserError(f"compare: by={key} is no key of these cells; {allowed_names(key, known)}")
    return given.names("by") or PANEL_KEYS


def _swept(a: _Sweep, b: _Sweep) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*a.store.manifest.swept, *b.store.manifest.swept)))


def _width() -> int | None:
    """Return the width of the tables; without a terminal, rich would cut them to 80 columns."""
    return None if sys.stdout.isatty() else 140


def _fields(comparison: Comparison, apart: Sequence[FactApart], names: tuple[str, str]) -> dict[str, Any]:
    return {
        "a": names[0],
        "b": names[1],
        "simulated": comparison.simulated,
        "pairs": len(comparison.pairs),
        "tests": len(comparison.tested),
        "changed": [_plain(finding) for finding in comparison.changed],
        "untested": [_plain(finding) for finding in comparison.findings if finding.p_holm is None],
        "unpaired": dict(zip("ab", comparison.unpaired, strict=True)),
        "excluded": dict(zip("ab", comparison.excluded, strict=True)),
        "provenance": {fact.name: {"a": list(fact.a), "b": list(fact.b)} for fact in apart},
    }


def _plain(finding: Finding) -> dict[str, Any]:
    change = finding.change
    return {
        "metric": finding.metric,
        "panel": finding.panel,
        "scale": change.scale,
        "change": _rounded(change.change),
        "low": _rounded(change.low),
        "high": _rounded(change.high),
        "p_holm": _rounded(finding.p_holm),
        "n": change.n,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
