"""What the report says of its energies: measured or computed, how surely, and what the whole sweep spent."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.analysis.text_format import NOT_MEASURED, TOTAL_ENERGY, quantity, share, source_words
from orchestrator.measure.reasons import REASONS
from orchestrator.records.record import CellRecord, LaneRecord


def energy_fact(frame: pd.DataFrame) -> str:
    """Of the cells that ran: where their energies come from, and how far off the usable ones may be."""
    ran = frame[frame["status"] != "failed"]
    if TOTAL_ENERGY not in ran or ran[TOTAL_ENERGY].isna().all():
        return NOT_MEASURED if len(ran) else ""
    counts = Counter(_source(row) for row in ran.to_dict("records"))
    if len(counts) == 1:
        parts = [next(iter(counts))]
    else:
        parts = [f"{words} in {count} of {len(ran)} cells" for words, count in counts.items()]
    return "; ".join([*parts, *_certainty(ran[ran["status"] == "ok"])])


def reason_counts(frame: pd.DataFrame) -> list[tuple[str, int, str]]:
    """Code, number of cells and meaning of every reason that occurs, the most frequent first."""
    if "reason_codes" not in frame:
        return []
    codes = Counter(code for text in frame["reason_codes"] for code in str(text).split(", ") if code)
    meanings = {
        kind.code: f"{_plain(kind.meaning)} ({'transient' if kind.transient else 'inherent'})" for kind in REASONS
    }
    return [(code, count, meanings.get(code, "")) for code, count in codes.most_common()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Sums of what was measured, and of how many; a sum of nothing is None. Units: J.

    ``cells_j`` are whole cells, from their begin to their last finish, invalid ones too: the energy is spent;
    ``windows_j`` the windows of the ok ones, a part of it.
    """

    starts_j: float | None
    n_starts: int
    n_starts_measured: int
    cells_j: float | None
    windows_j: float | None
    n_cells: int
    n_cells_measured: int


def lifecycle_fact(spent: Lifecycle | None) -> str:
    """Engine starts and whole cells, apart from the windows; empty where neither was measured."""
    if spent is None:
        return ""
    parts = []
    if spent.starts_j is not None:
        starts = _of(spent.n_starts_measured, spent.n_starts, "engine start")
        parts.append(f"{starts}: {_joules(spent.starts_j)}")
    if spent.cells_j is not None:
        cells = _of(spent.n_cells_measured, spent.n_cells, "cell")
        windows = f", of which {_joules(spent.windows_j)} in windows that count" if spent.windows_j is not None else ""
        parts.append(f"{cells} from begin to end: {_joules(spent.cells_j)}{windows}")
    return "; ".join(parts)


def _of(n_measured: int, n_all: int, noun: str) -> str:
    """``3 cells``, ``2 of 3 cells``, ``1 cell``."""
    count = str(n_all) if n_measured == n_all else f"{n_measured} of {n_all}"
    return f"{count} {noun}{'s' if n_all > 1 else ''}"


def _source(row: dict[Hashable, Any]) -> str:
    total_j, source = row[TOTAL_ENERGY], row.get("energy_source")
    if math.isnan(total_j):
        return NOT_MEASURED
    if isinstance(source, str):
        return source_words(source, str(row.get("collectors.power")))
    return source_words("computed", None) if row["simulated"] else "measured"


def _certainty(ok: pd.DataFrame) -> list[str]:
    """Of sampled energies: the most that edges leave open, and how far the integral is off the counter at most."""
    if "energy_uncertainty_j" not in ok:
        return []
    sampled = ok[ok["energy_uncertainty_j"].notna()]
    found = {
        "the edges of windows leave at most {} open": (sampled["energy_uncertainty_j"] / sampled[TOTAL_ENERGY]).max(),
        "the integral of power is within {} of the counter": sampled["energy_gap_ratio"].abs().max()
        if "energy_gap_ratio" in sampled
        else math.nan,
    }
    return [text.format(share(ratio)) for text, ratio in found.items() if math.isfinite(ratio)]


def _joules(energy_j: float) -> str:
    if energy_j >= 3.6e6:
        return quantity(energy_j / 3.6e6, "kWh")
    return quantity(energy_j / 1e3, "kJ") if energy_j >= 1e4 else quantity(energy_j, "J")


def _plain(markdown: str) -> str:
    """Without the marks of code."""
    return markdown.replace("`", "")


def lifecycle(lanes: Iterable[LaneRecord], records: Iterable[CellRecord]) -> Lifecycle:
    """The energies of a sweep's lanes and cells, kept apart."""
    started, ran = tuple(lanes), tuple(records)
    starts_j = [lane.engine_start_energy_j for lane in started if lane.engine_start_energy_j is not None]
    cells_j = [record.metrics["cell_gpu_energy_j"] for record in ran if "cell_gpu_energy_j" in record.metrics]
    windows_j = [
        record.metrics["total_gpu_energy_j"]
        for record in ran
        if record.status == "ok" and "total_gpu_energy_j" in record.metrics
    ]
    return Lifecycle(
        starts_j=sum(starts_j) if starts_j else None,
        n_starts=len(started),
        n_starts_measured=len(starts_j),
        cells_j=sum(cells_j) if cells_j else None,
        windows_j=sum(windows_j) if windows_j else None,
        n_cells=len(ran),
        n_cells_measured=len(cells_j),
    )
