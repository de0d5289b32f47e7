"""How far cells meet an objective, and how far they would without each of its limits."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from orchestrator.measure.slo import objective_metrics
from orchestrator.measure.window import Window
from orchestrator.spec.settings import Slo

LIMITS = ("ttft_ms", "tpot_ms", "e2el_ms", "workflow_ms")
WHOLE = ""
"""The name of the whole objective among its variants; the others are named by the limit they lack."""

_PERCENTILES = {0.5: "median", 0.9: "p90", 0.95: "p95", 0.99: "p99"}
_ATTAINMENTS = ("slo_attainment_ratio", "workflow_slo_attainment_ratio")

Attainment = Mapping[str, Mapping[str, float]]
"""Of a cell: for each variant, the metrics of `objective_metrics`."""


def limits_of(slo: Slo) -> dict[str, float]:
    """The limits that are set, by name. Units: ms."""
    found = {name: getattr(slo, name) for name in LIMITS}
    return {name: limit for name, limit in found.items() if limit is not None}


def variants(slo: Slo) -> dict[str, Slo]:
    """The objective, and it without each of its limits."""
    return {WHOLE: slo} | {name: slo.model_copy(update={name: None}) for name in limits_of(slo)}


def attainment(series: Mapping[str, pa.Table], window: Window, slo: Slo) -> Attainment:
    """What a cell attains of every variant; ``series`` needs ``requests`` and ``steps``."""
    return {name: objective_metrics(series, window, variant) for name, variant in variants(slo).items()}


def pooled(attainments: Sequence[Attainment], variant: str) -> dict[str, float]:
    """The attained shares of a variant, averaged over repeats; one that a repeat lacks is absent."""
    return {
        key: sum(found[variant][key] for found in attainments) / len(attainments)
        for key in _ATTAINMENTS
        if all(key in found[variant] for found in attainments)
    }


def share(attainments: Sequence[Attainment]) -> float:
    """The smaller of the shares of requests and of workflows within the limits; 0 where nothing was judged."""
    return min(pooled(attainments, WHOLE).values(), default=0.0)


def percentile_key(limit: str, slo: Slo) -> str | None:
    """The metric that says at which latency the share is reached: ``p99_ttft_ms``; None where no metric does."""
    word = _PERCENTILES.get(slo.attainment_ratio)
    return f"{word}_{limit}" if word is not None else None
