"""Bringing one GPU back to what stood before us, from its journal: by its owner, a guard, the next start, `restore`."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from collectors.control import driver, journal
from collectors.control.journal import Entry
from collectors.control.knobs import WATT_MW
from collectors.control.setter import Setter, choose
from collectors.control.settle import settled_limit_mw
from collectors.errors import CollectorError, ControlFailed, SetByOthers

LimitDone = Literal["restored", "back already", "never set", "left: somebody else has set it", "gone with a restart"]


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
