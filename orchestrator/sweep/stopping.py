"""The stop rule: decide, as cells end, which repeats are still needed. A resume decides the same as one run."""

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from orchestrator.measure.statistics import mean_of
from orchestrator.records.record import CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Settings, StopRule
from orchestrator.store.sweep import SweepStore
from orchestrator.sweep.order import block_of
from orchestrator.sweep.record_writer import scored
from orchestrator.sweep.scheduler import FinishedCell, QueuePartition

_ROUNDING = 1e-9
"""Below this share of the mean, a half-width is rounding of sums in another order."""


class StopRuleGate:
    """The gate of a sweep with a stop rule.

    Repeats are counted within a configuration: cells that differ in nothing else. The first ``min_repeats`` always run.
    Each later one waits until all earlier repeats have ended, and runs unless the ok ones suffice. While a repeat
    waits, no cell of a later block starts. So neither the order of a sweep nor its number of lanes decides what runs.
    """

    def __init__(
        self,
        cells: Iterable[Cell],
        settings: Settings,
        *,
        block_of: Callable[[Cell], int] = lambda cell: 0,
        rerun: Container[str] = (),
        not_needed: Mapping[str, str] | None = None,
        on_not_needed: Callable[[], None] = lambda: None,
    ) -> None:
        """Start with no cell ended.

        Args:
            cells: the whole matrix.
            settings: the stop rule, and the objective and tariff of the scores.
            block_of: returns the block of a cell in the order.
            rerun: ids of cells that run in any case, because their record is to be replaced.
            not_needed: why cells need not run, by id, as far as decided earlier.
            on_not_needed: called for each further cell that need not run.
        """
        self.not_needed = dict(not_needed or {})
        self._on_not_needed = on_not_needed
        self._settings = settings
        self._block_of = block_of
        self._rerun = rerun
        self._values: dict[str, float | None] = {}
        self._needed: set[str] = set()
        self._earlier_repeats: dict[str, tuple[str, ...]] = {}
        repeats: dict[str, list[str]] = {}
        for cell in sorted(cells, key=lambda cell: cell.repeat):
            earlier = repeats.setdefault(cell.configuration, [])
            self._earlier_repeats[cell.cell_id] = tuple(earlier)
            earlier.append(cell.cell_id)

    def cell_ended(self, finished: FinishedCell) -> None:
        """Count the end of a cell; only ok cells contribute a value."""
        result = finished.result
        ok = result is not None and result.status == "ok"
        metrics = scored(result, self._settings).metrics if result is not None and ok else {}
        self._values[finished.cell.cell_id] = self._value(metrics)

    def count_record(self, record: CellRecord) -> None:
        """Count the record of a cell that will not run again."""
        self._values[record.cell_id] = self._value(record.metrics if record.status == "ok" else {})

    def partition_queue(self, queue: Sequence[Cell]) -> QueuePartition:
        """Split queued cells into runnable and not needed."""
        runnable, not_needed, last_block = [], [], math.inf
        for index, cell in enumerate(queue):
            block = self._block_of(cell)
            if block > last_block:
                continue
            if not self._decided(cell):
                last_block = block
            elif cell.cell_id in self.not_needed:
                not_needed.append(index)
            else:
                runnable.append((block, index))
        return QueuePartition(
            runnable=tuple(index for block, index in runnable if block <= last_block), not_needed=tuple(not_needed)
        )

    def _decided(self, cell: Cell) -> bool:
        """Return whether it is decided that the cell runs, or that it need not; decide it if possible."""
        cell_id, rule = cell.cell_id, self._settings.stop_when
        if cell_id in self._needed or cell_id in self.not_needed:
            return True
        earlier = self._earlier_repeats[cell_id]
        reason = None
        if len(earlier) >= rule.min_repeats and cell_id not in self._rerun:
            if any(one not in self._values and one not in self.not_needed for one in reversed(earlier)):
                return False
            reason = satisfied_by(rule, [value for one in earlier if (value := self._values.get(one)) is not None])
        if reason is None:
            self._needed.add(cell_id)
        else:
            self.not_needed[cell_id] = reason
            self._on_not_needed()
        return True

    def _value(self, metrics: Mapping[str, float]) -> float | None:
        value = metrics.get(self._settings.stop_when.metric or "")
        return value if value is not None and math.isfinite(value) else None


def satisfied_by(rule: StopRule, values: Sequence[float]) -> str | None:
    """Return why the values of the repeats so far suffice; None if they do not, or if there is no rule."""
    if rule.metric is None or len(values) < rule.min_repeats:
        return None
    mean = mean_of(values)
    half, wanted = mean.half_width, rule.half_width_ratio * abs(mean.value)
    if half is None or half > max(wanted, _ROUNDING * abs(mean.value)):
        return None
    ratio = half / abs(mean.value) if mean.value else 0.0
    return (
        f"{rule.metric} is known to ±{ratio:.2g} of its mean after {len(values)} repeats; "
        f"protocol.stop_when.half_width_ratio is {rule.half_width_ratio:g}"
    )


def cells_not_needed(
    cells: Sequence[Cell],
    records: Mapping[str, CellRecord],
    settings: Settings,
    *,
    final: Callable[[CellRecord], bool] = lambda record: True,
) -> dict[str, str]:
    """Return why cells without a record need not run, by id; ``final`` tells which records will not be replaced."""
    if settings.stop_when.metric is None:
        return {}
    gate = StopRuleGate(cells, settings, rerun=records)
    for record in filter(final, records.values()):
        gate.count_record(record)
    gate.partition_queue(sorted(cells, key=lambda cell: cell.repeat))
    return gate.not_needed


def stop_rule_gate(
    store: SweepStore,
    cells: Sequence[Cell],
    runnable: Iterable[Cell],
    settings: Settings,
    *,
    not_needed: Mapping[str, str],
    on_not_needed: Callable[[], None],
) -> StopRuleGate | None:
    """Return the gate of a sweep that is about to run ``runnable`` of its ``cells``; None without a stop rule.

    The gate has counted the records that will not be replaced; the last two arguments are those of ``StopRuleGate``.
    """
    if settings.stop_when.metric is None:
        return None
    records = {record.cell_id: record for record in store.records()}
    gate = StopRuleGate(
        cells,
        settings,
        block_of=lambda cell: block_of(cell, settings.order),
        rerun=records,
        not_needed=not_needed,
        on_not_needed=on_not_needed,
    )
    for cell_id in records.keys() - {cell.cell_id for cell in runnable}:
        gate.count_record(records[cell_id])
    return gate


def write_not_needed(store: SweepStore, cells: Sequence[Cell], settings: Settings) -> None:
    """Write into the manifest which cells did not run because the stop rule was met."""
    manifest = store.manifest
    if settings.stop_when.metric is None and not manifest.not_needed:
        return
    not_needed = cells_not_needed(cells, {record.cell_id: record for record in store.records()}, settings)
    store.replace_manifest(manifest.model_copy(update={"not_needed": not_needed}))
