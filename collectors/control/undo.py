"""Bringing one GPU back to what stood before us, from its journal: by its owner, a guard, the next start, `restore`."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from collectors.control import driver, journal
from collectors.control.driver import settled_limit_mw
from collectors.control.journal import Entry, state_dir
from collectors.control.knobs import WATT_MW
from collectors.control.lock import GpuLock, holder_of
from collectors.control.setter import AUTO, Setter, choose
from collectors.errors import CollectorError, ControlFailed, ControlRefused, SetByOthers
from collectors.nvml_devices import Nvml

LimitDone = Literal["restored", "back already", "never set", "left: somebody else has set it", "gone with a restart"]
State = Literal["restored", "in use", "not restored"]
_ROLE = "restore"


@dataclass(frozen=True, slots=True)
class Undone:
    """What was found on a GPU and what was done."""

    uuid: str
    before_w: float | None
    """What stood before us; None where we set no limit."""
    found_w: float | None
    """None where nobody looked: nothing was set, or the machine has restarted since."""
    limit: LimitDone
    clock_unlocked: bool

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def undo(folder: Path, entry: Entry, setter: Callable[[], Setter], *, outwait: bool = True) -> Undone:
    """Restores the limit if it is still ours, takes our clock lock away, then forgets the journal.

    The caller holds the GPU's lock. Killed anywhere, this can be done again. `setter` is asked only if one is needed.
    Without `outwait` what may still be set by a dead caller is not waited for, and its journal stays.

    Raises:
        CollectorError: The GPU was not brought back; the journal stays.
    """
    if not entry.of_this_boot:
        done = Undone(entry.uuid, _watts(entry.before_mw), None, "gone with a restart", clock_unlocked=False)
    else:
        done = _undone(entry, setter)
        if entry.pending and not outwait:
            return done
        if entry.pending:
            setter().outwait(entry.uuid)
            again = _undone(entry, setter)
            done = again if again.limit == "restored" else done
    journal.remove(folder, entry.uuid)
    return done


def replay(folder: Path, uuid: str, wanted: str) -> Undone | None:
    """Undoes what a dead owner has left on a GPU whose lock the caller holds; None where there is nothing.

    Raises:
        SetByOthers: The journal is another user's.
        ControlFailed: It is damaged, or the GPU was not brought back.
    """
    entry = entry_of(folder, uuid)
    if entry is None:
        return None
    try:
        return undo(folder, entry, lambda: choose(wanted, uuid))
    except CollectorError as error:
        raise not_restored(folder, uuid, error) from error


def entry_of(folder: Path, uuid: str) -> Entry | None:
    """What a GPU's journal says is to be undone; None where it has none.

    Raises:
        SetByOthers: It is another user's.
        ControlFailed: It is damaged.
    """
    if (user := journal.foreign(folder, uuid)) is not None:
        raise SetByOthers(
            f"GPU {uuid} has the journal {journal.path_of(folder, uuid)} of another user (uid {user}), whose limit or "
            "clock may stand: `python -m orchestrator restore` as that user or root brings the GPU back"
        )
    return journal.read(folder, uuid)


def not_restored(folder: Path, uuid: str, cause: Exception) -> ControlFailed:
    """The error for a GPU that is left as it is."""
    return ControlFailed(
        f"GPU {uuid} was not restored: {cause}; what stood before is kept in {journal.path_of(folder, uuid)}, and "
        "`python -m orchestrator restore` brings it back"
    )


def restore_limit(entry: Entry, found_mw: int, setter: Callable[[], Setter]) -> LimitDone:
    """Sets what stood before, unless it stands or somebody else has set what stands."""
    if entry.before_mw is None or not entry.ours_mw:
        return "never set"
    if found_mw == entry.before_mw:
        return "back already"
    if not entry.is_ours(found_mw):
        return "left: somebody else has set it"
    setter().set_power_limit(entry.uuid, entry.before_mw)
    settled_limit_mw(entry.uuid, entry.before_mw, enforced=False)
    return "restored"


def _undone(entry: Entry, setter: Callable[[], Setter]) -> Undone:
    """Both are tried, whatever becomes of the first."""
    found_mw, limit = None, None
    try:
        if entry.ours_mw:
            found_mw = driver.limit_mw(entry.uuid)
            limit = restore_limit(entry, found_mw, setter)
    finally:
        if entry.clock_mhz is not None:
            setter().unlock_sm_clock(entry.uuid)
    unlocked = entry.clock_mhz is not None
    return Undone(entry.uuid, _watts(entry.before_mw), _watts(found_mw), limit or "never set", clock_unlocked=unlocked)


def _watts(limit_mw: int | None) -> float | None:
    return None if limit_mw is None else limit_mw / WATT_MW


@dataclass(frozen=True, slots=True)
class Leftover:
    """One GPU that had a journal."""

    uuid: str
    state: State
    undone: Undone | None = None
    detail: str | None = None
    """Who controls it, or why it was not restored."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal that is there, and who wrote it."""

    uuid: str
    path: Path
    told: str


def restore_all(*, setter: str = AUTO, folder: Path | None = None) -> tuple[Leftover, ...]:
    """Brings back every GPU that has a journal and no controller; a second time finds nothing to do."""
    where = state_dir(folder)
    return tuple(_restored(where, uuid, setter) for uuid in journal.uuids(where))


def journals(folder: Path | None = None) -> tuple[Journal, ...]:
    """The journals that are there, of live controllers and of dead ones."""
    where = state_dir(folder)
    return tuple(Journal(uuid, journal.path_of(where, uuid), _told(where, uuid)) for uuid in journal.uuids(where))


def _restored(folder: Path, uuid: str, setter: str) -> Leftover:
    try:
        lock = GpuLock.take(folder, uuid, _ROLE)
    except ControlRefused as error:
        return Leftover(uuid, "in use", detail=str(error))
    try:
        return Leftover(uuid, "restored", _undo_leftover(folder, uuid, setter))
    except CollectorError as error:
        return Leftover(uuid, "not restored", detail=str(error))
    finally:
        lock.release()


def _undo_leftover(folder: Path, uuid: str, setter: str) -> Undone | None:
    """None where a guard was faster."""
    entry = entry_of(folder, uuid)
    if entry is None or not entry.of_this_boot:  # no driver is needed to forget what a restart has undone
        return replay(folder, uuid, setter)
    with Nvml():
        return replay(folder, uuid, setter)


def _told(folder: Path, uuid: str) -> str:
    try:
        entry = entry_of(folder, uuid)
    except (ControlFailed, ControlRefused) as error:
        return str(error)
    if entry is None:
        return "gone meanwhile"
    what = [f"{limit_mw / WATT_MW:g} W" for limit_mw in entry.ours_mw]
    if entry.clock_mhz is not None:
        what.append(f"{entry.clock_mhz} MHz")
    before = "" if entry.before_mw is None else f", {entry.before_mw / WATT_MW:g} W before"
    holder = holder_of(folder, uuid)
    lives = (
        holder is not None and (holder.pid, holder.start_ticks) == (entry.pid, entry.start_ticks) and not holder.gone
    )
    return (
        f"{' and '.join(what)} set by pid {entry.pid} on {entry.host}{before}; {'in use' if lives else 'left behind'}"
    )
