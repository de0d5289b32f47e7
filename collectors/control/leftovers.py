"""What dead controllers have left on the GPUs of this machine, and bringing it back: `restore`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from collectors.control import journal
from collectors.control.knobs import WATT_MW
from collectors.control.lock import GpuLock, holder_of
from collectors.control.setter import AUTO
from collectors.control.state_dir import state_dir
from collectors.control.undo import Undone, entry_of, replay
from collectors.errors import CollectorError, ControlFailed, ControlRefused
from collectors.gpus import Nvml

State = Literal["restored", "in use", "not restored"]
_ROLE = "restore"


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
        return Leftover(uuid, "restored", _undone(folder, uuid, setter))
    except CollectorError as error:
        return Leftover(uuid, "not restored", detail=str(error))
    finally:
        lock.release()


def _undone(folder: Path, uuid: str, setter: str) -> Undone | None:
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
