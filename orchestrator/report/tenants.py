"""The table of tenants: the results of each of several tenants of one engine, a row for each point and tenant."""

import itertools
import math
from dataclasses import dataclass

import pandas as pd

from orchestrator.measure.breakdown import TENANT_PREFIX
from orchestrator.records.text_format import MISSING, metric_value
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
class TenantRow:
    """One tenant at one point, with the cells its means are of."""

    panel: str
    point: str
    tenant: str
    cells: tuple[str, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class TenantTable:
    """Titles of the entries, and the rows: by panel, then point, then tenant."""

    titles: tuple[str, ...]
    rows: tuple[TenantRow, ...]


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
            rows.append(TenantRow(str(point["panel"]), str(point["label"]), tenant, tuple(point["cells"]), entries))
    rows.sort(key=lambda row: row.panel)
    return TenantTable(tuple(_COLUMNS[name] for name in shown), tuple(rows))


def _entry(name: str, value: float) -> Entry:
    if not math.isfinite(value):
        return Entry(MISSING, "")
    counted = name.startswith("num_") and value == int(value)
    return Entry(f"{int(value)}" if counted else metric_value(name, value), value)
