"""Tables of the parts of a point: the results of its tenants, and energy by tenant, role and step."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from orchestrator.measure.breakdown import TENANT_PREFIX
from orchestrator.records.text_format import MISSING, metric_value, quantity, share
from orchestrator.report.detail import Detail
from orchestrator.report.spent import Spent
from orchestrator.report.tables import Entry

_COLUMNS = {
    "num_workflows": "workflows",
    "attributed_energy_j_per_workflow": "attributed energy per workflow",
    "mean_workflow_ms": "mean workflow time",
    "p99_workflow_ms": "p99 workflow time",
    "p99_ttft_ms": "p99 time to first token",
    "mean_tpot_ms": "mean time per output token",
    "request_goodput": "goodput of requests",
    "slo_attainment_ratio": "share within limits",
    "workflow_goodput": "goodput of workflows",
}


@dataclass(frozen=True, slots=True)
class PointRow:
    """Entries about one part of a point, such as a tenant or a step, with the cells they come from."""

    panel: str
    point: str
    names: tuple[str, ...]
    entries: tuple[Entry, ...]
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TenantTable:
    """Titles of the entries, and the rows: by panel, then point, then tenant."""

    titles: tuple[str, ...]
    rows: tuple[PointRow, ...]


def tenant_table(cells: pd.DataFrame, points: pd.DataFrame) -> TenantTable | None:
    """Return means over the cells of each point; None if no cell has several tenants.

    ``cells`` are those that ``orchestrator.analysis.pooling.pool`` made the points of.
    """
    keys = [key for key in cells.columns if key.startswith(TENANT_PREFIX)]
    if not keys:
        return None
    tenants = dict.fromkeys(key.split("/")[1] for key in keys)
    shown = [name for name in _COLUMNS if any(f"{TENANT_PREFIX}{tenant}/{name}" in keys for tenant in tenants)]
    by_id = cells.set_index("cell_id")[keys].astype(float)
    rows = []
    for point, tenant in itertools.product(points.to_dict("records"), tenants):
        means = by_id.loc[list(point["cells"])].mean().to_dict()
        values = [means.get(f"{TENANT_PREFIX}{tenant}/{name}", math.nan) for name in shown]
        if any(map(math.isfinite, values)):
            entries = tuple(map(_entry, shown, values))
            rows.append(PointRow(str(point["panel"]), str(point["label"]), (tenant,), entries, tuple(point["cells"])))
    rows.sort(key=lambda row: row.panel)
    return TenantTable(tuple(_COLUMNS[name] for name in shown), tuple(rows))


def _entry(name: str, value: float) -> Entry:
    if not math.isfinite(value):
        return Entry(MISSING, "")
    counted = name.startswith("num_") and value == int(value)
    return Entry(f"{int(value)}" if counted else metric_value(name, value), value)


def spent_rows(details: Sequence[Detail]) -> tuple[PointRow, ...]:
    """Return requests, energy, share of the cell's energy and share of prefill for each tenant, role and step."""
    return tuple(
        PointRow(detail.panel, detail.label, (spent.group, spent.name), _entries(spent), (detail.cell_id,))
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


def _share(ratio: float) -> Entry:
    return Entry(share(ratio), ratio) if math.isfinite(ratio) else Entry(MISSING, -1.0)
