"""Tenants of a cell: the part of the series that is each one's, and its main metrics over the cell's window.

The keys are ``tenant/<tenant>/<metric>``, a metric of `orchestrator.records.metrics`. A cell with one tenant has none.
"""

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.measure.columns import Columns
from orchestrator.measure.latency import request_metrics, workflow_metrics, workflow_times
from orchestrator.measure.window import Window
from orchestrator.records.series import ITERATIONS, TOKENS

TENANT_PREFIX = "tenant/"
_KEPT = ("num_requests", "num_workflows", "attributed_energy_j_per_workflow")
_KEPT_LATENCIES = tuple(f"{word}_{name}_ms" for name in ("ttft", "tpot", "workflow") for word in ("mean", "p95", "p99"))
_METRIC = "attributed_energy_j_per_workflow"


def tenant_metrics(series: Mapping[str, pa.Table], window: Window) -> dict[str, float]:
    """Counts, latencies and energy of each tenant; empty where there is only one."""
    tokens, iterations = Columns(TOKENS.empty_table()), Columns(ITERATIONS.empty_table())
    found: dict[str, float] = {}
    for tenant, own in by_tenant(series).items():
        requests, steps = Columns(own["requests"]), Columns(own["steps"])
        metrics = (
            request_metrics(requests, tokens, iterations, window)
            | workflow_metrics(workflow_times(requests, steps), window)
            | attributed_energy(requests, window)
        )
        found |= {tenant_key(tenant, key): metrics[key] for key in (*_KEPT, *_KEPT_LATENCIES) if key in metrics}
    return found


def by_tenant(series: Mapping[str, pa.Table]) -> dict[str, dict[str, pa.Table]]:
    """``requests`` and ``steps`` of each tenant, by its name; empty where there is only one."""
    tenants = sorted(set(series["requests"].column("tenant").to_pylist()))
    if len(tenants) < 2:
        return {}
    return {
        tenant: {name: series[name].filter(pc.field("tenant") == tenant) for name in ("requests", "steps")}
        for tenant in tenants
    }


def tenant_key(tenant: str, metric: str) -> str:
    """The key of a tenant's metric; in the tenant's name only what MLflow and column names allow is kept."""
    return f"{TENANT_PREFIX}{re.sub(r'[^A-Za-z0-9_-]', '_', tenant)}/{metric}"


def attributed_energy(requests: Columns, window: Window) -> dict[str, float]:
    """Energy the engine attributed to the requests of workflows that finished in the window, per workflow.

    Absent where the engine does not attribute energy, or no workflow finished.
    """
    workflows, index = np.unique(requests.strings("workflow_id").astype(str), return_inverse=True)
    answered_s = np.full(len(workflows), -np.inf)
    np.maximum.at(answered_s, index, requests.floats("finished_s"))
    inside = window.holds(answered_s)
    energy_j = (requests.floats("prefill_energy_j") + requests.floats("decode_energy_j"))[inside[index]]
    if not inside.any() or np.isnan(energy_j).any():
        return {}
    return {"attributed_energy_j_per_workflow": float(energy_j.sum() / inside.sum())}


ROLE_PREFIX = "role/"


def role_metrics(requests: Columns, window: Window) -> dict[str, float]:
    """Attributed energy of each role's requests in the workflows that finished in the window, per such workflow.

    Workflows without the role count, too, so that the roles' energies add up to the cell's. Absent where energy was not
    attributed.
    """
    roles = requests.strings("role").astype(str)
    if len(np.unique(roles)) < 2:
        return {}
    workflows, index = np.unique(requests.strings("workflow_id").astype(str), return_inverse=True)
    answered_s = np.full(len(workflows), -np.inf)
    np.maximum.at(answered_s, index, requests.floats("finished_s"))
    inside = window.holds(answered_s)
    counted = inside[index]
    energy_j = requests.floats("prefill_energy_j") + requests.floats("decode_energy_j")
    if not inside.any() or np.isnan(energy_j[counted]).any():
        return {}
    return {
        role_key(role): float(energy_j[counted & (roles == role)].sum() / inside.sum())
        for role in sorted(set(roles[counted]))
    }


def role_key(role: str) -> str:
    """The key of a role's energy; in its name only what MLflow and column names allow is kept."""
    return f"{ROLE_PREFIX}{re.sub(r'[^A-Za-z0-9_-]', '_', role)}/{_METRIC}"
