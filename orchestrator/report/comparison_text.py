"""A comparison for the console: provenance first, then what changed, then what did not."""

import re
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.axes import GROUPS
from orchestrator.analysis.comparison import Comparison, FactApart, Finding
from orchestrator.analysis.pairs import Change, Measured
from orchestrator.records.metrics import BY_KEY
from orchestrator.records.text_format import MISSING, number
from orchestrator.spec.names import run_name

_SHOWN = 5
_SMALL_P = 1e-4
_WIDE = 136
_NARROW = ("change", "95 % interval", "p (Holm)")
_MEANS = "A and B: geometric means over the pairs (plain means where a value is zero or negative)"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def show(
    console: Console, result: Comparison, apart: Sequence[FactApart], names: tuple[str, str], *, swept: Sequence[str]
) -> None:
    """Print a comparison; ``names`` are those of the sweeps, ``swept`` the keys that name a cell."""
    for line in _head(result, apart, names, swept):
        console.print(line, markup=False, soft_wrap=True)
    if _wide(console):
        console.print(_MEANS, markup=False, soft_wrap=True)
    changed = result.changed
    title = f"changed: {len(changed)} of {len(result.tested)} tests (5 % level of the family, Holm)"
    _print_table(console, title, changed)
    same = [finding for finding in result.tested if not finding.changed]
    scattered = [finding for finding in same if not _equal(finding)]
    if scattered:
        _print_table(console, f"not changed: {len(scattered)}", scattered)
    for line in _equal_lines([finding for finding in same if _equal(finding)]):
        console.print(line, markup=False, soft_wrap=True)
    untested = [finding for finding in result.findings if finding.p_holm is None]
    if untested:
        _print_table(console, "changed in the only pair there is; not tested", untested)


def _equal(finding: Finding) -> bool:
    return finding.change.least == finding.change.most == 0


def _equal_lines(findings: Sequence[Finding]) -> Iterable[str]:
    of_panel: dict[str, list[str]] = {}
    for finding in findings:
        of_panel.setdefault(finding.panel, []).append(finding.metric)
    if of_panel:
        yield f"no difference, equal in every pair: {len(findings)}"
    yield from (f"  {panel}: {', '.join(metrics)}" for panel, metrics in of_panel.items())


def _head(
    result: Comparison, apart: Sequence[FactApart], names: tuple[str, str], swept: Sequence[str]
) -> Iterable[str]:
    pairing = result.pairing
    yield f"A: {names[0]}"
    yield f"B: {names[1]}"
    if result.simulated:
        yield "SIMULATED: both were computed, not measured; intervals show how cells differ, not the noise of a sensor"
    yield "provenance: " + ("the same" if not apart else "differs")
    yield from (f"  {fact.name}: {_values(fact.a)} | {_values(fact.b)}" for fact in apart)
    yield from _differing_lines(result)
    yield f"{len(result.pairs)} pairs of ok cells"
    for name, count, cells in zip("AB", result.excluded, (pairing.only_a, pairing.only_b), strict=True):
        if count:
            yield f"excluded from {name}: {count} that failed or are invalid"
        alone = [cell for cell in cells if cell.status == "ok"]
        if alone:
            yield f"without a partner in {name}: {len(alone)}: {_names(alone, swept)}"
    if pairing.n_ambiguous:
        yield f"{pairing.n_ambiguous} of them have several possible partners"


def _differing_lines(result: Comparison) -> Iterable[str]:
    """Yield the keys set aside with their values; the keys that follow from a group choice are only named."""
    differing = result.pairing.differing
    names = {key.partition(".")[0]: key for key in GROUPS if key in differing}
    for key, (a, b) in differing.items():
        group, _, short = key.partition(".")
        if names.get(group, key) != key:
            continue
        yield f"set aside: {key}: {_values(a)} | {_values(b)}"
        figures = [other.partition(".")[2] for other in differing if other.startswith(f"{group}.") and other != key]
        if short and group in names and figures:
            yield f"  and with it {', '.join(figures)}"
    if result.pairing.caps_as_shares:
        yield "caps are paired as shares of the maximum of each GPU"


def _values(values: Sequence[str]) -> str:
    shown = ", ".join(_COMMIT.sub(lambda match: match[0][:12], value) for value in values[:_SHOWN]) or MISSING
    return f"{shown}, …" if len(values) > _SHOWN else shown


def _names(cells: Sequence[Measured], swept: Sequence[str]) -> str:
    names = [run_name(cell.config, swept) or cell.cell_id for cell in cells[:_SHOWN]]
    return "; ".join(names) + ("; …" if len(cells) > _SHOWN else "")


def _print_table(console: Console, title: str, findings: Sequence[Finding]) -> None:
    console.print(title, style="bold", markup=False)
    if not findings:
        return
    table = Table(box=SIMPLE_HEAD)
    table.add_column("metric", no_wrap=True)
    for name in ("A", "B", "change", "95 % interval", "least … most", "n", "p (Holm)"):
        if _wide(console) or name in _NARROW:
            table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    panel = None
    for finding in findings:
        if finding.panel != panel:
            table.add_row(Text(finding.panel, style="bold"))
        table.add_row(*_row(finding, wide=_wide(console)))
        panel = finding.panel
    console.print(table)


def _wide(console: Console) -> bool:
    return console.width >= _WIDE


def _row(finding: Finding, *, wide: bool) -> tuple[str, ...]:
    change = finding.change
    interval = " … ".join(MISSING if value is None else _signed(change, value) for value in (change.low, change.high))
    extremes = f"{_signed(change, change.least)} … {_signed(change, change.most)}"
    return (
        f"  {_titled(finding.metric)}",
        *((number(change.before), number(change.after)) if wide else ()),
        _signed(change, change.change),
        interval,
        *((extremes, str(change.n)) if wide else ()),
        _p_value(finding.p_holm),
        _remark(finding),
    )


def _p_value(p: float | None) -> str:
    if p is None:
        return MISSING
    return f"{p:.2g}" if p >= _SMALL_P else f"<{_SMALL_P:g}"


def _titled(metric: str) -> str:
    unit = BY_KEY[metric].unit if metric in BY_KEY else ""
    return f"{metric} ({unit})" if unit and not metric.endswith(("_ms", "_w", "_j")) and "_j_" not in metric else metric


def _signed(change: Change, value: float) -> str:
    if value == 0:
        return "0"
    if change.scale == "difference":
        return f"{value:+.3g}"
    percent = 100 * value
    digits = 2 if abs(percent) < 1 else 1 if abs(percent) < 1000 else 0
    return f"{percent:+.{digits}f} %"


def _remark(finding: Finding) -> str:
    change = finding.change
    if finding.changed:
        better = BY_KEY[finding.metric].better if finding.metric in BY_KEY else "neither"
        word = "" if better == "neither" else "better" if (change.change < 0) == (better == "lower") else "worse"
        return ", ".join(part for part in (word, "all alike" if change.constant else "") if part)
    excludes_zero = change.low is not None and change.high is not None and not change.low <= 0 <= change.high
    return "significant only without correction" if excludes_zero else ""
