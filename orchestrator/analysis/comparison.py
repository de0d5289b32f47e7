"""Compare two sweeps: every metric of every panel, tested as one family; and the facts that differ."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.analysis.pairs import Change, Measured, Pair, Pairing, holm, pair, paired_change, text_of
from orchestrator.errors import UserError
from orchestrator.measure.statistics import CONFIDENCE
from orchestrator.records.provenance import VOLATILE
from orchestrator.records.record import CellRecord
from orchestrator.spec.names import dotted

PANEL_KEYS = ("workflow.kind",)

HEADLINES = (
    "gpu_energy_j_per_workflow",
    "gpu_energy_j_per_output_token",
    "avg_gpu_power_w",
    "median_workflow_ms",
    "p99_workflow_ms",
    "p99_ttft_ms",
    "p99_tpot_ms",
    "output_throughput",
    "prefix_cache_hit_ratio",
)
"""Metrics that are compared by default: with more tests, each needs a smaller p-value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A metric of a panel. ``p_holm`` is None if it cannot be tested: one pair shows no scatter."""

    panel: str
    metric: str
    change: Change
    n_pairs: int
    p_holm: float | None = None

    @property
    def changed(self) -> bool:
        """Return whether it changed at the 5 % level of the whole family."""
        return self.p_holm is not None and self.p_holm <= 1 - CONFIDENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The findings over the pairs of two ok cells; ``unpaired`` and ``excluded`` count the cells of each sweep."""

    simulated: bool
    pairing: Pairing
    pairs: tuple[Pair, ...]
    unpaired: tuple[int, int]
    excluded: tuple[int, int]
    findings: tuple[Finding, ...]

    @property
    def changed(self) -> tuple[Finding, ...]:
        """Return the findings that changed."""
        return tuple(finding for finding in self.findings if finding.changed)

    @property
    def tested(self) -> tuple[Finding, ...]:
        """Return the family of tests."""
        return tuple(finding for finding in self.findings if finding.p_holm is not None)


def compare(
    a: Sequence[Measured],
    b: Sequence[Measured],
    *,
    metrics: Sequence[str] = HEADLINES,
    by: Sequence[str] = PANEL_KEYS,
    declared: Sequence[str] = (),
) -> Comparison:
    """Pair two sweeps and test every metric in every panel (a combination of the keys ``by``).

    The units of a test are the configurations of a panel, with their repeats averaged first; if a panel has one
    configuration, the units are its repeats. Only pairs of two ok cells count.

    Raises:
        UserError: One sweep is simulated and the other measured, or no cell of one has a partner in the other.
    """
    good_a, good_b = _ok(a), _ok(b)
    simulated = _one_kind(good_a, good_b)
    pairing = pair(a, b, declared)
    pairs = tuple(one for one in pairing.pairs if one.a.status == one.b.status == "ok")
    if not pairs:
        raise UserError(_no_pairs(a, b, pairing))
    return Comparison(
        simulated=simulated,
        pairing=pairing,
        pairs=pairs,
        unpaired=(len(good_a) - len(pairs), len(good_b) - len(pairs)),
        excluded=(len(a) - len(good_a), len(b) - len(good_b)),
        findings=_corrected(_findings(pairs, metrics, by)),
    )


def _ok(cells: Sequence[Measured]) -> list[Measured]:
    return [cell for cell in cells if cell.status == "ok"]


def _one_kind(a: Sequence[Measured], b: Sequence[Measured]) -> bool:
    simulated, n = sum(cell.simulated for cell in (*a, *b)), len(a) + len(b)
    if 0 < simulated < n:
        raise UserError(
            f"{simulated} of the {n} ok cells are simulated and the others measured; "
            "simulated and measured results are not compared"
        )
    return simulated > 0


def _no_pairs(a: Sequence[Measured], b: Sequence[Measured], pairing: Pairing) -> str:
    if pairing.pairs:
        return f"none of the {len(pairing.pairs)} pairs has two ok cells; resume the sweeps first"
    if not a or not b:
        return "a sweep without results cannot be compared; resume it first"
    if pairing.n_ambiguous:
        return (
            f"{pairing.n_ambiguous} cells have several partners each: the keys on which the sweeps differ as a whole "
            "take several values in one sweep; compare sweeps that share those values"
        )
    return (
        "no cell of one sweep has a partner in the other: they differ on more keys than those that differ as a whole; "
        "differs=KEY,… (such as differs=hardware,load.users) sets keys aside"
    )


def _findings(pairs: Sequence[Pair], metrics: Sequence[str], by: Sequence[str]) -> list[Finding]:
    panels: dict[str, list[Pair]] = defaultdict(list)
    for one in pairs:
        panels[_panel(one, by)].append(one)
    findings = []
    for panel, mine in panels.items():
        for metric in metrics:
            both = [one for one in mine if metric in one.a.metrics and metric in one.b.metrics]
            if both:
                change = paired_change(
                    [one.a.metrics[metric] for one in both], [one.b.metrics[metric] for one in both], _units(both)
                )
                findings.append(Finding(panel=panel, metric=metric, change=change, n_pairs=len(both)))
    return findings


def _panel(one: Pair, by: Sequence[str]) -> str:
    return " · ".join(_level(one, key) if key in PANEL_KEYS else f"{key}={_level(one, key)}" for key in by)


def _level(one: Pair, key: str) -> str:
    """Return the value of a key; both values if the key was set aside."""
    return " → ".join(dict.fromkeys(text_of(cell.config.get(key)) for cell in (one.a, one.b)))


def _units(pairs: Sequence[Pair]) -> list[int]:
    index = {configuration: i for i, configuration in enumerate(dict.fromkeys(one.configuration for one in pairs))}
    if len(index) == 1:
        return list(range(len(pairs)))
    return [index[one.configuration] for one in pairs]


def _corrected(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    tested = [finding for finding in findings if finding.change.p is not None]
    adjusted = holm([finding.change.p for finding in tested if finding.change.p is not None])
    of = {id(finding): p for finding, p in zip(tested, adjusted, strict=True)}
    return tuple(replace(finding, p_holm=of.get(id(finding))) for finding in findings)


@dataclass(frozen=True, slots=True)
class FactApart:
    """A fact with its values in each sweep; empty if a sweep does not have it."""

    name: str
    a: tuple[str, ...]
    b: tuple[str, ...]


def facts(starts: Iterable[Mapping[str, Any]], records: Iterable[CellRecord]) -> dict[str, tuple[str, ...]]:
    """Return the facts of a sweep's starts and records with each value once: hosts, versions, commits."""
    values_of: dict[str, dict[str, None]] = {}
    for plain in (*starts, *(_of_record(record) for record in records)):
        for key, value in dotted(plain).items():
            if not key.startswith(VOLATILE) and value is not None:
                values_of.setdefault(key, {})[text_of(value)] = None
    return {key: tuple(values) for key, values in values_of.items()}


def facts_apart(a: Mapping[str, Sequence[str]], b: Mapping[str, Sequence[str]]) -> tuple[FactApart, ...]:
    """Return the facts whose values differ."""
    return tuple(
        FactApart(key, tuple(a.get(key, ())), tuple(b.get(key, ())))
        for key in dict.fromkeys((*a, *b))
        if set(a.get(key, ())) != set(b.get(key, ()))
    )


def _of_record(record: CellRecord) -> dict[str, Any]:
    window = record.window or {}
    return {
        "simulated": record.simulated,
        "window": {"rule": window.get("rule")},
        **record.provenance,
        **({"host": record.attempts[-1].host} if record.attempts else {}),
    }
