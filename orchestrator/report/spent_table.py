"""The table of who used the energy: a row a cell that is looked into, and tenant, role or step of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report.detail import Detail
from orchestrator.report.spent import Spent
from orchestrator.report.tables import Entry
from orchestrator.report.words import MISSING, quantity


@dataclass(frozen=True, slots=True)
class SpentRow:
    """One tenant, role or step of a cell."""

    panel: str
    point: str
    group: str
    name: str
    entries: tuple[Entry, ...]
    cells: tuple[str, ...]


def spent_rows(details: Sequence[Detail]) -> tuple[SpentRow, ...]:
    """Rows of requests, energy, its share of the cell's, and what of it was prefill; none where nothing is known."""
    return tuple(
        SpentRow(detail.panel, detail.label, spent.group, spent.name, _entries(spent), (detail.cell_id,))
        for detail in details
        for spent in detail.spent
    )


def _entries(spent: Spent) -> tuple[Entry, ...]:
    return (
        Entry(f"{spent.n_requests}", spent.n_requests),
        Entry(quantity(spent.energy_j, "J"), spent.energy_j),
        _share(spent.share),
        _share(spent.prefill_share),
    )


def _share(share: float) -> Entry:
    return Entry(f"{100 * share:.1f}\u00a0%", share) if math.isfinite(share) else Entry(MISSING, -1.0)
