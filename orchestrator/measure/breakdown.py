"""Metrics of a cell's tenants and roles over the cell's window.

The keys are ``tenant/<tenant>/<metric>`` and ``role/<role>/<metric>``, with a metric of `orchestrator.records.metrics`.
A cell with one tenant has no keys of tenants, and one with a single role no keys of roles.
"""

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.measure.columns import Columns, Flags, Floats
from orchestrator.measure.latency import request_metrics, workflow_metrics, workflow_times
from orchestrator.measure.window import Window
from orchestrator.records.series import ITERATIONS, TOKENS

TENANT_PREFIX = "tenant/"
ROLE_PREFIX = "role/"
_ENERGY = "attributed_energy_j_per_workflow"
_LATENCIES = tuple(f"{word}_{name}_ms" for name in ("ttft", "tpot", "workflow") for word in ("mean", "p95", "p99"))
_TENANT_METRICS = ("num_requests", "num_workflows", _ENERGY, *_LATENCIES)


def tenant_metrics(series: Mapping[str, pa.Table], window: Window) -> dict[str, float]:
    """Return counts, latencies and energy of each tenant; empty if there is only one."""
    tokens, iterations = Columns(TOKENS.empty_table()), Columns(ITERATIONS.empty_table())
    of_tenants: dict[str, float] = {}
    for tenant, own in by_tenant(series).items():
        requests, steps = Columns(own["requests"]), Columns(own["steps"])
        metrics = (
            request_metrics(requests, tokens, iterations, window)
            | workflow_metrics(workflow_times(requests, steps), window)
            | attributed_energy(requests, window)
        )
        of_tenants |= {tenant_key(tenant, key): metrics[key] for key in _TENANT_METRICS if key in metrics}
    return of_tenants


def by_tenant(series: Mapping[str, pa.Table]) -> dict[str, dict[str, pa.Table]]:
    """Return ``requests`` and ``steps`` of each tenant, by its name; empty if there is only one."""
    tenants = sorted(set(series["requests"].column("tenant").to_pylist()))
    if len(tenants) < 2:
        return {}
    return {
        tenant: {name: series[name].filter(pc.field("tenant") == tenant) for name in ("requests", "steps")}
        for tenant in tenants
    }


def attributed_energy(requests: Columns, window: Window) -> dict[str, float]:
    """Return the energy attributed to the requests of workflows that finished in the window, per workflow.

    Empty if the engine does not attribute energy, or no workflow finished.
    """
    energy_j, counted, n_workflows = _finished_energy(requests, window)
    return {_ENERGY: float(energy_j[counted].sum() / n_workflows)} if n_workflows else {}


def role_metrics(requests: Columns, window: Window) -> dict[str, float]:
    """Return the energy attributed to each role in the workflows that finished in the window, per such workflow.

    Workflows without the role count too, so that the energies of the roles add up to the cell's. Empty if energy was
    not attributed.
    """
    roles = requests.strings("role").astype(str)
    if len(np.unique(roles)) < 2:
        return {}
    energy_j, counted, n_workflows = _finished_energy(requests, window)
    if not n_workflows:
        return {}
    return {
        _key(ROLE_PREFIX, role, _ENERGY): float(energy_j[counted & (roles == role)].sum() / n_workflows)
        for role in sorted(set(roles[counted]))
    }


def tenant_key(tenant: str, metric: str) -> str:
    """Return the key of a tenant's metric."""
    return _key(TENANT_PREFIX, tenant, metric)


def _finished_energy(requests: Columns, window: Window) -> tuple[Floats, Flags, int]:
    """Return the energy of each request, which requests are of workflows that finished in the window, and their number.

    The number is 0 if the energy of such a request is unknown.
    """
    workflows, index = np.unique(requests.strings("workflow_id").astype(str), return_inverse=True)
    finished_s = np.full(len(workflows), -np.inf)
    np.maximum.at(finished_s, index, requests.floats("finished_s"))
    inside = window.holds(finished_s)
    counted = inside[index]
    energy_j = requests.floats("prefill_energy_j") + requests.floats("decode_energy_j")
    return energy_j, counted, 0 if np.isnan(energy_j[counted]).any() else int(inside.sum())


def _key(prefix: str, name: str, metric: str) -> str:
    """Return the key of a metric; characters of the name that MLflow and column names do not allow become ``_``."""
    return f"{prefix}{re.sub(r'[^A-Za-z0-9_-]', '_', name)}/{metric}"
