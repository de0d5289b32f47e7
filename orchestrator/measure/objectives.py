"""How much of a cell's work met an objective: a pure function of the series, so any objective can be asked later."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.measure.columns import Columns
from orchestrator.measure.tenants import by_tenant, tenant_key
from orchestrator.measure.window import Window
from orchestrator.slo import Slo

Flags = npt.NDArray[np.bool_]


def objective_metrics(series: Mapping[str, pa.Table], window: Window, slo: Slo) -> dict[str, float]:
    """Goodput and attainment of the requests and workflows that finished in the window; only for limits that are set.

    ``series`` needs ``requests`` and ``steps``. A request is good when it is within all limits of a request, as in
    ``vllm bench serve --goodput``: one output token has no TPOT and meets any. A share of nothing is absent. Where
    there are several tenants, each has the same under its own keys (`orchestrator.measure.tenants`).
    """
    found = _met(series, window, slo)
    for tenant, own in by_tenant(series).items():
        found |= {tenant_key(tenant, key): value for key, value in _met(own, window, slo).items()}
    return found


def _met(series: Mapping[str, pa.Table], window: Window, slo: Slo) -> dict[str, float]:
    found: dict[str, float] = {}
    if slo.limits_requests:
        good = good_requests(Columns(series["requests"]), window, slo)
        found |= _metrics("request_goodput", "slo_attainment_ratio", good, window)
    if slo.workflow_ms is not None:
        good = good_workflows(Columns(series["steps"]), window, slo.workflow_ms)
        found |= _metrics("workflow_goodput", "workflow_slo_attainment_ratio", good, window)
    return found


def good_requests(requests: Columns, window: Window, slo: Slo) -> Flags:
    """Of each request that finished in the window, whether it is within the limits; shape (finished,)."""
    finished_s = requests.floats("finished_s")
    inside = _inside(finished_s, window)
    submitted_s, first_s, last_s = (
        requests.floats(name)[inside] for name in ("submitted_s", "first_token_s", "finished_s")
    )
    gaps = np.maximum(requests.floats("output_tokens")[inside] - 1, 1)
    limited = (
        (slo.ttft_ms, first_s - submitted_s),
        (slo.tpot_ms, (last_s - first_s) / gaps),
        (slo.e2el_ms, last_s - submitted_s),
    )
    good = np.ones(int(inside.sum()), dtype=bool)
    for limit_ms, latency_s in limited:
        if limit_ms is not None:
            good &= latency_s * 1e3 <= limit_ms
    return good


def good_workflows(steps: Columns, window: Window, limit_ms: float) -> Flags:
    """Of each workflow that finished in the window, whether it is within the limit; shape (finished,)."""
    _, index = np.unique(steps.strings("workflow_id").astype(str), return_inverse=True)
    n_workflows = int(index.max(initial=-1)) + 1
    arrival_s, finished_s = np.full(n_workflows, np.inf), np.full(n_workflows, -np.inf)
    np.minimum.at(arrival_s, index, steps.floats("arrival_s"))
    np.maximum.at(finished_s, index, steps.floats("finished_s"))
    inside = _inside(finished_s, window)
    good: Flags = (finished_s - arrival_s)[inside] * 1e3 <= limit_ms
    return good


def _inside(finished_s: npt.NDArray[np.float64], window: Window) -> Flags:
    inside: Flags = (finished_s >= window.start_s) & (finished_s <= window.end_s)
    return inside


def _metrics(goodput: str, attainment: str, good: Flags, window: Window) -> dict[str, float]:
    found = {goodput: float(good.sum()) / window.length_s} if window.length_s > 0 else {}
    return found | ({attainment: float(good.mean())} if len(good) else {})
