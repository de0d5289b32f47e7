"""What an objective and a tariff say of a finished cell; its series stay as they are, so another can be asked."""

from dataclasses import replace
from typing import Any

from orchestrator.measure.slo import objective_metrics
from orchestrator.measure.window import Window
from orchestrator.records.record import CellResult
from orchestrator.spec.settings import Settings, Slo, Tariff, tariff_metrics
from orchestrator.store.manifest import Start


def judged(result: CellResult, settings: Settings) -> CellResult:
    """The result with the metrics of objective and tariff, and both in its provenance where they limit or rate it."""
    slo, tariff = settings.slo, settings.tariff
    metrics = {**result.metrics, **tariff_metrics(result.metrics, tariff)}
    told: dict[str, Any] = {}
    if slo.limits_anything:
        metrics |= objective_metrics(result.series, Window(**result.window), slo)
        told["slo"] = slo.model_dump(exclude_none=True)
    if tariff != Tariff():
        told["tariff"] = tariff.model_dump(exclude_none=True)
    return replace(result, metrics=metrics, provenance={**result.provenance, **told})


def judging_as_before(settings: Settings, last: Start) -> Settings:
    """The settings of a resume: an objective or tariff it does not name is that of the sweep's last start."""
    before = {
        "slo": Slo.model_validate(last.settings.get("slo", {})),
        "tariff": Tariff.model_validate(last.settings.get("tariff", {})),
    }
    unnamed = {key: old for key, old in before.items() if getattr(settings, key) == type(old)()}
    return settings.model_copy(update=unnamed)


def judged_otherwise(settings: Settings, last: Start) -> tuple[str, ...]:
    """A warning for each of objective and tariff that kept cells were not judged by."""
    before = judging_as_before(settings.model_copy(update={"slo": Slo(), "tariff": Tariff()}), last)
    lines = []
    if settings.slo != before.slo:
        lines.append(f"slo: cells that are kept were judged by {before.slo}; others by {settings.slo}")
    if settings.tariff != before.tariff:
        lines.append("tariff: cells that are kept have the costs of the last start's; others of this one's")
    return tuple(lines)
