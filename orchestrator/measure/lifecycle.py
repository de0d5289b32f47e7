"""What a sweep spent beyond its windows: engine starts, counted once a lane, and the whole of every cell."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.records.record import CellRecord, LaneRecord


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
