"""Pair the cells of two sweeps, and test the change over the pairs."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.results import full_config
from orchestrator.measure.statistics import mean_of
from orchestrator.records.record import CellRecord, Status

_CAP, _MAX_CAP = "hardware.power_limit_w", "hardware.max_power_limit_w"
_DEFAULT_CAP = "hardware.default_power_limit_w"
_CAP_SHARE = "hardware.power_limit_w (share of the maximum)"

Signature = tuple[tuple[str, str], ...]

_EQUAL = 1e-9
"""Relative difference below which two values are equal: the order of a summation can cause it."""

Scale = Literal["ratio", "difference"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One cell of a sweep; ``config`` is its whole configuration under dotted keys."""

    cell_id: str
    status: Status
    simulated: bool
    config: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two cells that are equal apart from the keys set aside; ``signature`` holds the other keys."""

    a: Measured
    b: Measured
    signature: Signature

    @property
    def configuration(self) -> Signature:
        """Return the signature without repeat and seed: repeats of a pair share it."""
        return tuple(item for item in self.signature if item[0] not in ("repeat", "seed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The pairs, the cells without a partner, and the number of those with several possible partners.

    ``differing`` maps the keys on which the two cells of some pair differ to the values in each sweep.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[Measured, ...]
    only_b: tuple[Measured, ...]
    n_ambiguous: int
    differing: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]

    @property
    def caps_as_shares(self) -> bool:
        """Return whether caps were compared as shares of the maximum of each GPU."""
        return any(key == _CAP_SHARE for one in self.pairs for key, _ in one.signature)


def pair(a: Sequence[Measured], b: Sequence[Measured], declared: Sequence[str] = ()) -> Pairing:
    """Pair the cells of two sweeps, each with at most one.

    Two cells are a pair if they are equal on every key that is not set aside. The keys ``declared`` are set aside
    (``engine`` declares all ``engine.*``); without any, those on which the sweeps differ as a whole (no value of one
    occurs in the other). An unset cap is the default cap. Caps of GPUs with different maxima are compared in watts or
    as shares of the maximum, whichever have more values in common. A cell with several possible partners has none.
    """
    plain_a, plain_b = _comparable(a, b)
    keys = dict.fromkeys(key for config in (*plain_a, *plain_b) for key in config)
    aside = {key for key in keys if _declares(declared, key)} if declared else _apart(plain_a, plain_b)
    kept = [key for key in keys if key not in aside]
    of_a, of_b = _by_signature(a, plain_a, kept), _by_signature(b, plain_b, kept)
    pairs = tuple(
        Pair(a=cells[0], b=of_b[signature][0], signature=signature)
        for signature, cells in of_a.items()
        if len(cells) == len(of_b.get(signature, ())) == 1
    )
    paired_a, paired_b = {one.a.cell_id for one in pairs}, {one.b.cell_id for one in pairs}
    ambiguous = [signature for signature in of_a if len(of_a[signature]) + len(of_b.get(signature, ())) > 2]
    return Pairing(
        pairs=pairs,
        only_a=tuple(cell for cell in a if cell.cell_id not in paired_a),
        only_b=tuple(cell for cell in b if cell.cell_id not in paired_b),
        n_ambiguous=sum(len(of_a[s]) + len(of_b[s]) for s in ambiguous if s in of_b),
        differing=_differing(pairs),
    )


def _comparable(a: Sequence[Measured], b: Sequence[Measured]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    in_watts = [[_text(_with_cap(cell.config)) for cell in cells] for cells in (a, b)]
    in_shares = [[_text(_with_share(cell.config)) for cell in cells] for cells in (a, b)]
    common_watts = set.intersection(*(_levels(configs, _CAP) for configs in in_watts))
    common_shares = set.intersection(*(_levels(configs, _CAP_SHARE) for configs in in_shares))
    first, second = in_shares if len(common_shares) > len(common_watts) else in_watts
    return first, second


def _with_cap(config: Mapping[str, Any]) -> dict[str, Any]:
    cap = config.get(_CAP)
    return {**config, _CAP: cap if cap is not None else config.get(_DEFAULT_CAP)}


def _with_share(config: Mapping[str, Any]) -> dict[str, Any]:
    plain = _with_cap(config)
    cap, most = plain.pop(_CAP), plain.get(_MAX_CAP)
    return plain | ({_CAP_SHARE: round(cap / most, 3)} if cap is not None and most else {})


def _text(config: Mapping[str, Any]) -> dict[str, str]:
    return {key: text_of(value) for key, value in config.items()}


def text_of(value: Any) -> str:
    """Return a configuration value as text, the same for 4 and 4.0."""
    if isinstance(value, float):
        return f"{value:.12g}"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _declares(declared: Iterable[str], key: str) -> bool:
    return any(key == name or key.startswith(f"{name.removesuffix('.*')}.") for name in declared)


def _levels(configs: Iterable[Mapping[str, str]], key: str) -> set[str]:
    return {config[key] for config in configs if key in config}


def _apart(a: Sequence[Mapping[str, str]], b: Sequence[Mapping[str, str]]) -> set[str]:
    keys = {key for config in (*a, *b) for key in config}
    return {key for key in keys if not _levels(a, key) & _levels(b, key)}


def _by_signature(
    cells: Sequence[Measured], configs: Sequence[Mapping[str, str]], kept: Sequence[str]
) -> dict[Signature, list[Measured]]:
    groups: dict[Signature, list[Measured]] = defaultdict(list)
    for cell, config in zip(cells, configs, strict=True):
        groups[tuple((key, config[key]) for key in kept if key in config)].append(cell)
    return dict(groups)


def _differing(pairs: Iterable[Pair]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    values_of: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for one in pairs:
        a, b = _text(_with_cap(one.a.config)), _text(_with_cap(one.b.config))
        for key in dict.fromkeys((*a, *b)):
            if a.get(key) != b.get(key):
                values = values_of.setdefault(key, ({}, {}))
                for config, seen in zip((a, b), values, strict=True):
                    seen[config.get(key, "absent")] = None
    return {key: (tuple(first), tuple(second)) for key, (first, second) in values_of.items()}


def measured(record: CellRecord) -> Measured:
    """Return the cell of a record, with the defaults of its configuration filled in."""
    return Measured(
        cell_id=record.cell_id,
        status=record.status,
        simulated=record.simulated,
        config=full_config(record),
        metrics=record.metrics,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change from first to second values, with the 95 % interval of its mean and the p-value of no change.

    On the ``ratio`` scale ``change`` is relative (0.1: a tenth more), on ``difference`` it has the unit of the metric.
    ``low``, ``high`` and ``p`` are None if there is a single unit and it changed: it shows no scatter. ``least`` and
    ``most`` are the extremes over the ``n`` units; ``before`` and ``after`` are means, geometric on the ``ratio``
    scale.
    """

    scale: Scale
    n: int
    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    least: float
    most: float
    p: float | None

    @property
    def constant(self) -> bool:
        """Return whether several units changed by exactly the same amount: there is no scatter to test against."""
        return self.n > 1 and self.low is not None and self.low == self.high and self.change != 0


def paired_change(before: Sequence[float], after: Sequence[float], unit: Sequence[int]) -> Change:
    """Return the change over pairs; ``unit[i]`` is the unit of the i-th pair, and pairs of a unit are averaged first.

    Student's t test over the units: on log ratios if every value is positive, else on differences. Values that agree to
    nine digits are equal. If all units changed by the same amount other than zero, the interval is that amount and p
    is 0.
    """
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    positive = bool((first > 0).all() and (second > 0).all())
    if positive:
        first, second = np.log(first), np.log(second)
    tolerance = _EQUAL if positive else _EQUAL * float(np.abs([first, second]).max(initial=0.0))
    apart = second - first
    apart[np.abs(apart) <= tolerance] = 0.0
    deltas = _means(apart, unit)
    mean = mean_of(deltas, tolerance)
    back = math.expm1 if positive else float
    average = math.exp if positive else float
    return Change(
        scale="ratio" if positive else "difference",
        n=len(deltas),
        before=average(_means(first, unit).mean()),
        after=average(_means(second, unit).mean()),
        change=back(mean.value),
        low=None if mean.low is None else back(mean.low),
        high=None if mean.high is None else back(mean.high),
        least=back(deltas.min()),
        most=back(deltas.max()),
        p=mean.p,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the family-wise error rate (Holm 1979), in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _means(values: Floats, unit: Sequence[int]) -> Floats:
    _, index = np.unique(np.asarray(unit), return_inverse=True)
    means: Floats = np.bincount(index, weights=values) / np.bincount(index)
    return means
