"""Which repeats of a sweep are still needed, decided as its cells end: the same on a resume as in one run."""

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from orchestrator.measure.statistics import mean_of
from orchestrator.records.record import CellRecord
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Settings, StopRule
from orchestrator.store.manifest import Start
from orchestrator.store.sweep import SweepStore
from orchestrator.sweep.order import block_of
from orchestrator.sweep.scheduler import Finished, Sifted
from orchestrator.sweep.scoring import judged

_ROUNDING = 1e-9
"""A standard error below this share of the mean is what summing in another order leaves."""


class Stopping:
    """The gate of a sweep with a stop rule.

    Repeats are counted within a configuration: cells that differ in nothing else. The first ``min_repeats`` always run.
    Each later one waits until all before it have ended, then runs unless those that are ok suffice; while one waits no
    cell of a later block begins. So neither the order of a sweep nor the number of its lanes decides what is run.
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
        """Nothing is settled but what is said here.

        Args:
            cells: all of the matrix.
            settings: the rule, and what else judges a cell.
            block_of: which block of the order a cell is in.
            rerun: ids of cells that run in any case: they have a record that is to be replaced.
            not_needed: why cells need not run, by their ids, where that is known.
            on_not_needed: told each time one more need not run.
        """
        self.not_needed = dict(not_needed or {})
        self._on_not_needed = on_not_needed
        self._settings = settings
        self._block_of = block_of
        self._rerun = rerun
        self._before: dict[str, tuple[str, ...]] = {}
        self._ended: dict[str, float | None] = {}
        self._runs: set[str] = set()
        repeats: dict[str, list[str]] = {}
        for cell in sorted(cells, key=lambda cell: cell.repeat):
            before = repeats.setdefault(cell.configuration, [])
            self._before[cell.cell_id] = tuple(before)
            before.append(cell.cell_id)

    def ended(self, finished: Finished) -> None:
        """Count the end of a cell; only ok ones say anything."""
        result = finished.result
        ok = result is not None and result.status == "ok"
        metrics = judged(result, self._settings).metrics if result is not None and ok else {}
        self._ended[finished.cell.cell_id] = self._value(metrics)

    def keep(self, record: CellRecord) -> None:
        """Count the record of a cell that is not to run."""
        self._ended[record.cell_id] = self._value(record.metrics if record.status == "ok" else {})

    def sift(self, queue: Sequence[Cell]) -> Sifted:
        """Which of those that wait may begin, and which need not."""
        ready, spared, last = [], [], math.inf
        for index, cell in enumerate(queue):
            block = self._block_of(cell)
            if block > last:
                continue
            if not self._decided(cell):
                last = block
            elif cell.cell_id in self.not_needed:
                spared.append(index)
            else:
                ready.append((block, index))
        return Sifted(ready=tuple(index for block, index in ready if block <= last), not_needed=tuple(spared))

    def _decided(self, cell: Cell) -> bool:
        """Whether it is known that the cell runs, or that it need not."""
        cell_id, rule = cell.cell_id, self._settings.stop_when
        if cell_id in self._runs or cell_id in self.not_needed:
            return True
        before = self._before[cell_id]
        why = None
        if len(before) >= rule.min_repeats and cell_id not in self._rerun:
            if any(one not in self._ended and one not in self.not_needed for one in reversed(before)):
                return False
            why = satisfied_by(rule, [value for one in before if (value := self._ended.get(one)) is not None])
        if why is None:
            self._runs.add(cell_id)
        else:
            self.not_needed[cell_id] = why
            self._on_not_needed()
        return True

    def _value(self, metrics: Mapping[str, float]) -> float | None:
        value = metrics.get(self._settings.stop_when.metric or "")
        return value if value is not None and math.isfinite(value) else None


def satisfied_by(rule: StopRule, values: Sequence[float]) -> str | None:
    """Why the values of the repeats so far are enough; None while they are not, or there is no rule."""
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


def not_needed(
    cells: Sequence[Cell],
    records: Mapping[str, CellRecord],
    settings: Settings,
    *,
    ended: Callable[[CellRecord], bool] = lambda record: True,
) -> dict[str, str]:
    """Why cells without a record need not run, by their ids; ``ended`` says which records will not be replaced."""
    if settings.stop_when.metric is None:
        return {}
    stopping = Stopping(cells, settings, rerun=records)
    for record in filter(ended, records.values()):
        stopping.keep(record)
    stopping.sift(sorted(cells, key=lambda cell: cell.repeat))
    return stopping.not_needed


def stopping_of(
    store: SweepStore,
    cells: Sequence[Cell],
    runnable: Iterable[Cell],
    settings: Settings,
    *,
    settled: Mapping[str, str],
    on_not_needed: Callable[[], None],
) -> Stopping | None:
    """The gate of a sweep that is about to run, told of all that is settled; None where there is no stop rule.

    Args:
        store: of the sweep.
        cells: all of its matrix.
        runnable: those that are to run now.
        settings: the rule, the order and what else judges a cell.
        settled: why cells are not to run although they have no record, by their ids.
        on_not_needed: told each time one more need not run.
    """
    if settings.stop_when.metric is None:
        return None
    records = {record.cell_id: record for record in store.records()}
    stopping = Stopping(
        cells,
        settings,
        block_of=lambda cell: block_of(cell, settings.order),
        rerun=records,
        not_needed=settled,
        on_not_needed=on_not_needed,
    )
    for cell_id in records.keys() - {cell.cell_id for cell in runnable}:
        stopping.keep(records[cell_id])
    return stopping


def keep_not_needed(store: SweepStore, cells: Sequence[Cell], settings: Settings) -> None:
    """Write down which cells were not run because the stop rule was met: the records are there to tell."""
    manifest = store.manifest
    if settings.stop_when.metric is None and not manifest.not_needed:
        return
    found = not_needed(cells, {record.cell_id: record for record in store.records()}, settings)
    store.replace_manifest(manifest.model_copy(update={"not_needed": found}))


def stopping_as_before(settings: Settings, last: Start) -> Settings:
    """The settings of a resume: a stop rule it does not name is that of the sweep's last start."""
    if settings.stop_when.metric is not None:
        return settings
    before = StopRule.model_validate(last.settings.get("stop_when", {}))
    return settings.model_copy(update={"stop_when": before})
