"""What the report states about energies: their source, their uncertainty, and the sums over the whole sweep."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.measure.reasons import REASONS
from orchestrator.records.record import CellRecord, LaneRecord
from orchestrator.records.text_format import NOT_MEASURED, TOTAL_ENERGY, energy, share, source_words


def energy_fact(frame: pd.DataFrame) -> str:
    """Return the sources of the energies of the cells that ran, and the uncertainty of those with status ok."""
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
    """Return code, number of cells and meaning of every reason that occurs, the most frequent first."""
    if "reason_codes" not in frame:
        return []
    codes = Counter(code for text in frame["reason_codes"] for code in str(text).split(", ") if code)
    meanings = {
        kind.code: f"{_plain(kind.meaning)} ({'transient' if kind.transient else 'inherent'})" for kind in REASONS
    }
    return [(code, count, meanings.get(code, "")) for code, count in codes.most_common()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Sums of the measured energies of a sweep; None if nothing was measured. Units: J.

    ``cells_j`` is the energy of whole cells, from their begin to their last finish, with the invalid ones: it was used
    as well. ``windows_j`` is the part in the windows of the ok cells.
    """

    starts_j: float | None
    n_starts: int
    n_starts_measured: int
    cells_j: float | None
    windows_j: float | None
    n_cells: int
    n_cells_measured: int


def lifecycle_fact(spent: Lifecycle | None) -> str:
    """Return the energy of engine starts and of whole cells; empty if neither was measured."""
    if spent is None:
        return ""
    parts = []
    if spent.starts_j is not None:
        starts = _of(spent.n_starts_measured, spent.n_starts, "engine start")
        parts.append(f"{starts}: {energy(spent.starts_j)}")
    if spent.cells_j is not None:
        cells = _of(spent.n_cells_measured, spent.n_cells, "cell")
        windows = f", of which {energy(spent.windows_j)} in windows that count" if spent.windows_j is not None else ""
        parts.append(f"{cells} from begin to end: {energy(spent.cells_j)}{windows}")
    return "; ".join(parts)


def _of(n_measured: int, n_all: int, noun: str) -> str:
    """Return ``3 cells``, ``2 of 3 cells`` or ``1 cell``."""
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
    """Return the largest uncertainty from the edges of windows, and the largest gap between integral and counter."""
    if "energy_uncertainty_j" not in ok:
        return []
    sampled = ok[ok["energy_uncertainty_j"].notna()]
    ratios = {
        "the edges of windows leave at most {} open": (sampled["energy_uncertainty_j"] / sampled[TOTAL_ENERGY]).max(),
        "the integral of power is within {} of the counter": sampled["energy_gap_ratio"].abs().max()
        if "energy_gap_ratio" in sampled
        else math.nan,
    }
    return [text.format(share(ratio)) for text, ratio in ratios.items() if math.isfinite(ratio)]


def _plain(markdown: str) -> str:
    """Return a text without the marks of code."""
    return markdown.replace("`", "")


def lifecycle(lanes: Iterable[LaneRecord], records: Iterable[CellRecord]) -> Lifecycle:
    """Return the sums over the lanes and over the cells of a sweep."""
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
