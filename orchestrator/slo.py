"""A service-level objective: how late a request or a workflow may be, and for how many of them that must hold."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

_WORDS = {"ttft": "TTFT", "tpot": "TPOT", "e2el": "request", "workflow": "workflow"}


class Slo(BaseModel):
    """Limits on latency; None is no limit. ``name`` is the preset's, for people.

    ``ttft_ms``, ``tpot_ms`` and ``e2el_ms`` hold for a request (the keys of ``vllm bench serve --goodput``),
    ``workflow_ms`` for a whole workflow. ``attainment_ratio`` is the share of them that must be within all limits for
    a cell to meet the objective (MLPerf judges the 99th percentile).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    ttft_ms: float | None = Field(default=None, gt=0)
    tpot_ms: float | None = Field(default=None, gt=0)
    e2el_ms: float | None = Field(default=None, gt=0)
    workflow_ms: float | None = Field(default=None, gt=0)
    attainment_ratio: float = Field(default=0.99, gt=0, le=1)

    @property
    def limits_requests(self) -> bool:
        """Whether any limit holds for a request."""
        return any(limit is not None for limit in (self.ttft_ms, self.tpot_ms, self.e2el_ms))

    @property
    def limits_anything(self) -> bool:
        """Whether there is any limit at all."""
        return self.limits_requests or self.workflow_ms is not None

    def met_by(self, metrics: Mapping[str, float]) -> bool:
        """Whether the metrics of a cell, those of `orchestrator.measure.objectives` included, meet the objective.

        What was not measured is not met; an objective without limits always is.
        """
        needed = {"slo_attainment_ratio": self.limits_requests, "workflow_slo_attainment_ratio": self.workflow_ms}
        return all(metrics.get(key, 0.0) >= self.attainment_ratio for key, limited in needed.items() if limited)

    def __str__(self) -> str:
        """For people: ``chat: TTFT ≤ 400 ms, TPOT ≤ 100 ms for 99 %``."""
        limits = {words: getattr(self, f"{key}_ms") for key, words in _WORDS.items()}
        given = ", ".join(f"{words} ≤ {limit:g} ms" for words, limit in limits.items() if limit is not None)
        told = f"{given} for {100 * self.attainment_ratio:g} %" if given else "no limits"
        return f"{self.name}: {told}" if self.name else told
