"""Recommend the setting of least cost that meets an objective, and give the price of each of its limits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.axes import Axis
from orchestrator.analysis.candidates import WHOLE, Candidate, Panel, limits_of, percentile_key, pooled, share, variants
from orchestrator.analysis.pairs import Change, paired_change
from orchestrator.measure.breakdown import TENANT_PREFIX, tenant_key
from orchestrator.measure.statistics import CONFIDENCE, Mean, mean_of
from orchestrator.spec.settings import Slo


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A limit, the latency that the choice reaches at the required share, and the price of the limit.

    ``relaxed`` is the choice without this limit; None if nothing meets the other limits either. ``price`` is the cost
    that it would save; None also if nothing meets all limits. ``reached_ms`` is that of the nearest miss if there is no
    choice, and None if no metric gives it.
    """

    name: str
    limit_ms: float
    reached_ms: float | None
    relaxed: Candidate | None
    price: float | None


@dataclass(frozen=True, slots=True)
class Edge:
    """A level of the choice that is the largest or smallest tried: levels beyond it are not known."""

    axis: Axis
    level: object
    side: Literal["largest", "smallest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The choice for a panel if any candidate meets the objective; otherwise the nearest miss.

    ``equal`` are other candidates that meet the objective at the same cost to nine digits; ``next_equal`` are those
    equal to the ``runner_up``. ``gap`` is the change from the choice to the runner-up over their common repeats.
    ``fastest`` is the candidate of least time that meets the objective; ``fastest_equal`` have its time and cost.
    """

    panel: Panel
    choice: Candidate | None
    cost: Mean | None
    equal: tuple[Candidate, ...]
    runner_up: Candidate | None
    next_equal: tuple[Candidate, ...]
    gap: Change | None
    fastest: Candidate | None
    fastest_equal: tuple[Candidate, ...]
    edges: tuple[Edge, ...]
    nearest: Candidate | None
    constraints: tuple[Constraint, ...]
    n_unmet: int

    @property
    def resolved(self) -> bool | None:
        """Return whether the runner-up costs more at the 5 % level; None with fewer than two common repeats."""
        return None if self.gap is None or self.gap.p is None else self.gap.p <= 1 - CONFIDENCE


def recommend(panel: Panel, slo: Slo) -> Recommendation:
    """Return the candidate of least mean cost among those whose repeats, on average, attain the required shares.

    Of equal costs, the one with the higher share is chosen, then the first.
    """
    met = [candidate for candidate in panel.candidates if meets(candidate, slo, WHOLE)]
    unmet = [candidate for candidate in panel.candidates if candidate not in met]
    choice = _least(met)
    equal = _equal(choice, met)
    runner_up = _least([other for other in met if other is not choice and other not in equal])
    fastest = _fastest(met)
    nearest = (
        None if choice is not None or not unmet else max(unmet, key=lambda one: (share(one.attainments), -one.cost))
    )
    return Recommendation(
        panel=panel,
        choice=choice,
        cost=None if choice is None else mean_of(list(choice.costs.values()), 1e-9 * abs(choice.cost)),
        equal=equal,
        runner_up=runner_up,
        next_equal=_equal(runner_up, met),
        gap=None if choice is None or runner_up is None else _gap(choice, runner_up),
        fastest=fastest,
        fastest_equal=tuple(other for other in _equal(fastest, met) if fastest and other.time_ms == fastest.time_ms),
        edges=() if choice is None else tuple(_edges(panel.knobs, (choice, *equal))),
        nearest=nearest,
        constraints=tuple(_constraints(panel.candidates, slo, choice, choice or nearest)),
        n_unmet=sum(len(candidate.cells) for candidate in unmet),
    )


def meets(candidate: Candidate, slo: Slo, variant: str) -> bool:
    """Return whether a candidate meets a variant of the objective (``orchestrator.analysis.candidates.variants``)."""
    return variants(slo)[variant].met_by(pooled(candidate.attainments, variant))


def _least(candidates: Sequence[Candidate]) -> Candidate | None:
    return min(candidates, key=lambda one: (one.cost, -share(one.attainments)), default=None)


def _fastest(candidates: Sequence[Candidate]) -> Candidate | None:
    timed = [(one.time_ms, one.cost, place) for place, one in enumerate(candidates) if one.time_ms is not None]
    return candidates[min(timed)[2]] if timed else None


def _edges(knobs: Sequence[Axis], chosen: Sequence[Candidate]) -> Iterable[Edge]:
    """Yield the ends of numeric axes at which all chosen settings lie."""
    for axis in knobs:
        levels = {one.levels[axis.key] for one in chosen}
        if axis.numeric and len(axis.levels) > 1 and len(levels) == 1:
            (level,) = levels
            if level == axis.levels[-1]:
                yield Edge(axis, level, "largest")
            elif level == axis.levels[0]:
                yield Edge(axis, level, "smallest")


def _equal(one: Candidate | None, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    return tuple(other for other in candidates if one is not None and other is not one and other.cost == one.cost)


def _gap(choice: Candidate, runner_up: Candidate) -> Change | None:
    common = [repeat for repeat in choice.costs if repeat in runner_up.costs]
    if not common:
        return None
    before, after = ([candidate.costs[repeat] for repeat in common] for candidate in (choice, runner_up))
    return paired_change(before, after, range(len(common)))


def _constraints(
    candidates: Sequence[Candidate], slo: Slo, choice: Candidate | None, shown: Candidate | None
) -> Iterable[Constraint]:
    for name, limit_ms in limits_of(slo).items():
        relaxed = _least([candidate for candidate in candidates if meets(candidate, slo, name)])
        key = percentile_key(name, slo)
        yield Constraint(
            name=name,
            limit_ms=limit_ms,
            reached_ms=None if shown is None or key is None else shown.mean(key),
            relaxed=relaxed,
            price=None if choice is None or relaxed is None else choice.cost - relaxed.cost,
        )


def own_series(series: Mapping[str, pa.Table], tenant: str) -> dict[str, pa.Table]:
    """Return the rows of a tenant; a cell of one workflow has one tenant with the name of the workflow."""
    return {name: table.filter(pc.field("tenant") == tenant) for name, table in series.items()}


def own_latencies(frame: pd.DataFrame, tenant: str) -> pd.DataFrame:
    """Return the frame with the tenant's latencies in place of those of cells with several tenants; NaN if missing."""
    shared_keys = [key for key in frame if str(key).startswith(TENANT_PREFIX)]
    shared = frame[shared_keys].notna().any(axis=1)
    own = frame.copy()
    for key in [key for key in frame if str(key).endswith("_ms") and key not in shared_keys]:
        column = tenant_key(tenant, str(key))
        own[key] = frame[key].mask(shared, frame[column] if column in frame else float("nan"))
    return own
