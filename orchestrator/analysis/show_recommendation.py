"""A recommendation as people read it: a few lines for each kind of work."""

from collections.abc import Iterable, Sequence

from rich.console import Console

from orchestrator.analysis.candidates import Candidate
from orchestrator.analysis.objective import share
from orchestrator.analysis.recommendation import Constraint, Recommendation
from orchestrator.metrics import BY_KEY
from orchestrator.report.panels import merged_label
from orchestrator.report.words import MISSING, number, quantity
from orchestrator.slo import Slo

_WORDS = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2el_ms": "request", "workflow_ms": "workflow"}


def show(console: Console, found: Sequence[Recommendation], slo: Slo, metric: str, origin: Iterable[str]) -> None:
    """Print every panel, after ``origin``: where the figures come from."""
    for line in (*origin, f"objective: {slo}", f"least: {metric} ({BY_KEY[metric].unit})"):
        console.print(line, markup=False)
    for one in found:
        console.print()
        for line in panel_lines(one, slo, metric):
            console.print(line, markup=False)


def panel_lines(one: Recommendation, slo: Slo, metric: str) -> list[str]:
    """What is said of one kind of work."""
    unit = BY_KEY[metric].unit
    head = _chosen(one, unit) if one.choice is not None else _missed(one, slo, unit)
    counts = {
        "do not meet the objective": one.n_unmet,
        "invalid": one.panel.n_invalid,
        "failed": one.panel.n_failed,
        "without this metric": one.panel.n_unmeasured,
    }
    left_out = [f"{count} {word}" for word, count in counts.items() if count]
    return [
        f"{one.panel.name}: {head[0]}",
        *(f"  {line}" for line in head[1:]),
        *(f"  {_limit(constraint, one, slo, unit)}" for constraint in one.constraints),
        *([f"  left out: {', '.join(left_out)} (cells)"] if left_out else []),
    ]


def _chosen(one: Recommendation, unit: str) -> list[str]:
    choice, cost = one.choice, one.cost
    if choice is None or cost is None:
        return []
    name = merged_label([choice.label, *(other.label for other in one.equal)])
    repeats = f"{len(choice.cells)} repeat{'s' if len(choice.cells) > 1 else ''}"
    if cost.low is not None and cost.high is not None:
        same = cost.low == cost.high
        repeats += ", all equal" if same else f", 95 % interval {number(cost.low)} … {number(cost.high)}"
    lines = [f"{name}: {quantity(choice.cost, unit)} ({repeats}); {_share(choice)} within the limits"]
    return [*lines, _runner_up(one, choice, unit)]


def _runner_up(one: Recommendation, choice: Candidate, unit: str) -> str:
    if one.runner_up is None:
        return "no other setting meets the objective"
    more = 100 * (one.runner_up.cost / choice.cost - 1) if choice.cost else 0.0
    verdict = {
        True: "the difference is resolved",
        False: "the difference is not resolved",
        None: "too few repeats to tell whether that is resolved",
    }[one.resolved]
    name = merged_label([one.runner_up.label, *(other.label for other in one.next_equal)])
    return f"runner-up: {name}: {quantity(one.runner_up.cost, unit)} ({more:+.2g} %; {verdict})"


def _missed(one: Recommendation, slo: Slo, unit: str) -> list[str]:
    if one.nearest is None:
        return ["no cell to choose from"]
    return [
        "no setting meets the objective",
        f"nearest miss: {one.nearest.label}: {_share(one.nearest)} within the limits, "
        f"{100 * slo.attainment_ratio:g} % wanted; {quantity(one.nearest.cost, unit)}",
    ]


def _limit(constraint: Constraint, one: Recommendation, slo: Slo, unit: str) -> str:
    reached = (
        ""
        if constraint.reached_ms is None
        else f" (reached at {100 * slo.attainment_ratio:g} %: {_ms(constraint.reached_ms)})"
    )
    name = f"{_WORDS[constraint.name]} ≤ {_ms(constraint.limit_ms)}{reached}"
    if constraint.relaxed is None:
        return f"{name}: without it nothing meets the others either"
    without = f"{constraint.relaxed.label}, {quantity(constraint.relaxed.cost, unit)}"
    if constraint.price is None or one.choice is None:
        return f"{name}: without it {without}"
    if constraint.price == 0:
        return f"{name}: costs nothing"
    price = f"{quantity(constraint.price, unit)} ({100 * constraint.price / one.choice.cost:.2g} %)"
    return f"{name}: costs {price}; without it {without}"


def _share(candidate: Candidate) -> str:
    return f"{100 * share(candidate.attainments):.3g} %"


def _ms(value: float | None) -> str:
    return MISSING if value is None else quantity(value, "ms")
