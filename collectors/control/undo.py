"""Restore GPUs from their journals: by the controller itself, the guard, the next `acquire`, or `restore`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
    """What was undone on a GPU."""

    uuid: str
    before_w: float | None
    """The limit before the controller; None if it set no limit."""
    found_w: float | None
    """The limit before undoing; None if it was not read: none was set, or the machine has restarted since."""
    limit: LimitDone
    clock_unlocked: bool


@dataclass(frozen=True, slots=True)
class Leftover:
    """The outcome of `restore_all` for a GPU that had a journal."""

    uuid: str
    state: State
    undone: Undone | None = None
    detail: str | None = None
    """Who controls it, or why it was not restored."""


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal in the folder, and its content for people."""

    uuid: str
    path: Path
    detail: str


def restore_all(*, setter: str = AUTO, folder: Path | None = None) -> tuple[Leftover, ...]:
    """Restore every GPU that has a journal and no living controller."""
    where = state_dir(folder)
    return tuple(_restore(where, uuid, setter) for uuid in journal.uuids(where))


def journals(folder: Path | None = None) -> tuple[Journal, ...]:
    """Return the journals in the folder, of living controllers and of dead ones."""
    where = state_dir(folder)
    return tuple(Journal(uuid, journal.path_of(where, uuid), _detail(where, uuid)) for uuid in journal.uuids(where))


def replay(folder: Path, uuid: str, setter: str) -> Undone | None:
    """Undo what a dead controller has left on a GPU whose lock the caller holds; None if there is no journal.

    Raises:
        SetByOthers: The journal is another user's.
        ControlFailed: It is damaged, or the GPU was not restored.
    """
    entry = entry_of(folder, uuid)
    if entry is None:
        return None
    try:
        return undo(folder, entry, lambda: choose(setter, uuid))
    except CollectorError as error:
        raise not_restored(folder, uuid, error) from error


def undo(folder: Path, entry: Entry, setter: Callable[[], Setter], *, outwait: bool = True) -> Undone:
    """Restore the limit if it is still the controller's, remove its clock lock, then remove the journal.

    The caller holds the GPU's lock. After a kill at any instant this can be repeated.

    Args:
        folder: Of the journals.
        entry: What to undo.
        setter: Called only if something must be set.
        outwait: Wait for settings of a dead caller that are pending; if not, keep the journal.

    Raises:
        CollectorError: The GPU was not restored; the journal stays.
    """
    if not entry.of_this_boot:
        done = Undone(entry.uuid, _watts(entry.before_mw), None, "gone with a restart", clock_unlocked=False)
    else:
        done = _undo(entry, setter)
        if entry.pending and not outwait:
            return done
        if entry.pending:
            setter().outwait(entry.uuid)
            again = _undo(entry, setter)
            done = again if again.limit == "restored" else done
    journal.remove(folder, entry.uuid)
    return done


def entry_of(folder: Path, uuid: str) -> Entry | None:
    """Return the GPU's journal; None if it has none.

    Raises:
        SetByOthers: It is another user's.
        ControlFailed: It is damaged.
    """
    if (user := journal.foreign_user(folder, uuid)) is not None:
        raise SetByOthers(
            f"GPU {uuid} has the journal {journal.path_of(folder, uuid)} of another user (uid {user}), whose limit or "
            "clock may still be set: `python -m orchestrator restore` as that user or root restores the GPU"
        )
    return journal.read(folder, uuid)


def not_restored(folder: Path, uuid: str, error: Exception) -> ControlFailed:
    """Return the error for a GPU that could not be restored."""
    return ControlFailed(
        f"GPU {uuid} was not restored: {error}; its settings before are in {journal.path_of(folder, uuid)}, and "
        "`python -m orchestrator restore` restores it"
    )


def restore_limit(entry: Entry, present_mw: int, setter: Callable[[], Setter]) -> LimitDone:
    """Set the limit of before, unless it is set already or another program has set the present limit."""
    if entry.before_mw is None or not entry.ours_mw:
        return "never set"
    if present_mw == entry.before_mw:
        return "back already"
    if not entry.is_ours(present_mw):
        return "left: somebody else has set it"
    setter().set_power_limit(entry.uuid, entry.before_mw)
    settled_limit_mw(entry.uuid, entry.before_mw, enforced=False)
    return "restored"


def _undo(entry: Entry, setter: Callable[[], Setter]) -> Undone:
    """Unlock the clock even if restoring the limit fails."""
    present_mw, limit = None, None
    try:
        if entry.ours_mw:
            present_mw = driver.limit_mw(entry.uuid)
            limit = restore_limit(entry, present_mw, setter)
    finally:
        if entry.clock_mhz is not None:
            setter().unlock_sm_clock(entry.uuid)
    unlocked = entry.clock_mhz is not None
    return Undone(entry.uuid, _watts(entry.before_mw), _watts(present_mw), limit or "never set", unlocked)


def _watts(limit_mw: int | None) -> float | None:
    return None if limit_mw is None else limit_mw / WATT_MW


def _restore(folder: Path, uuid: str, setter: str) -> Leftover:
    try:
        lock = GpuLock.take(folder, uuid, _ROLE)
    except ControlRefused as error:
        return Leftover(uuid, "in use", detail=str(error))
    try:
        return Leftover(uuid, "restored", _replay_open(folder, uuid, setter))
    except CollectorError as error:
        return Leftover(uuid, "not restored", detail=str(error))
    finally:
        lock.release()


def _replay_open(folder: Path, uuid: str, setter: str) -> Undone | None:
    """Open NVML if needed and replay; None if a guard has just restored the GPU."""
    entry = entry_of(folder, uuid)
    if entry is None or not entry.of_this_boot:  # after a restart the journal is only removed, which needs no driver
        return replay(folder, uuid, setter)
    with Nvml():
        return replay(folder, uuid, setter)


def _detail(folder: Path, uuid: str) -> str:
    try:
        entry = entry_of(folder, uuid)
    except (ControlFailed, ControlRefused) as error:
        return str(error)
    if entry is None:
        return "removed meanwhile"
    settings = [f"{limit_mw / WATT_MW:g} W" for limit_mw in entry.ours_mw]
    if entry.clock_mhz is not None:
        settings.append(f"{entry.clock_mhz} MHz")
    before = "" if entry.before_mw is None else f", {entry.before_mw / WATT_MW:g} W before"
    holder = holder_of(folder, uuid)
    in_use = (
        holder is not None and (holder.pid, holder.start_ticks) == (entry.pid, entry.start_ticks) and not holder.gone
    )
    state = "in use" if in_use else "left behind"
    return f"{' and '.join(settings)} set by pid {entry.pid} on {entry.host}{before}; {state}"
