"""The journal of one GPU: what was set before and by this controller, on disk before anything is set.

Journals and locks of a node are in one folder, `state_dir`.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from collectors.control.knobs import WATT_MW
from collectors.errors import ControlFailed, ControlRefused
from collectors.processes import boot_id

STATE_DIR_VARIABLE = "JOULEGRID_STATE_DIR"
_DEFAULT = Path("/var/tmp/joulegrid")  # not /run or /tmp: all users can write here, and nothing empties it for a month
_SUFFIX = ".journal"
_TOLERANCE_MW = WATT_MW  # drivers round a limit; nobody changes a limit by less on purpose


@dataclass(frozen=True, slots=True)
class Entry:
    """What must be undone on a GPU."""

    uuid: str
    boot_id: str
    pid: int
    start_ticks: int
    host: str
    setter: str
    before_mw: int | None
    """The limit before this controller set one; None if it has set none."""
    ours_mw: tuple[int, ...] = ()
    """All limits that the GPU may have from this controller: the one being set and, until that is read back, the
    previous one."""
    clock_mhz: int | None = None
    """The clock that this controller has locked or is about to lock; NVML cannot read a lock."""
    pending: bool = False
    """Whether a setting is being made that may act after its controller has died, because another process makes it."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to undo."""
        return not self.ours_mw and self.clock_mhz is None

    @property
    def of_this_boot(self) -> bool:
        """Whether the machine has not restarted since; a restart undoes limits and locks."""
        return self.boot_id == boot_id()

    def is_ours(self, limit_mw: int) -> bool:
        """Return whether this controller set the limit: not the one before it, nor one that another has set since."""
        return limit_mw != self.before_mw and any(abs(limit_mw - each) <= _TOLERANCE_MW for each in self.ours_mw)

    def with_limit(self, limit_mw: int) -> Self:
        """Return the entry with one more limit of this controller."""
        return replace(self, ours_mw=tuple(dict.fromkeys((*self.ours_mw, limit_mw))))


def state_dir(given: Path | None = None) -> Path:
    """Return the folder of journals and locks: ``given``, else `$JOULEGRID_STATE_DIR`, else the node's."""
    return given or Path(os.environ.get(STATE_DIR_VARIABLE) or _DEFAULT)


def prepare_state_dir(given: Path | None = None) -> Path:
    """Create the folder of journals and locks, writable for all users of the node, and return it.

    Raises:
        ControlRefused: It cannot be created or written.
    """
    folder = state_dir(given)
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o1777)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ControlRefused(
            f"the journal of power limits and clocks cannot be written to {folder} ({error.strerror or error}); "
            f"nothing was set; {STATE_DIR_VARIABLE} names another folder, the same for all who set this node's GPUs"
        ) from error
    return folder


def path_of(folder: Path, uuid: str) -> Path:
    """Return the path of a GPU's journal."""
    return folder / f"{uuid}{_SUFFIX}"


def uuids(folder: Path) -> tuple[str, ...]:
    """Return the GPUs that have a journal."""
    return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in folder.glob(f"GPU-*{_SUFFIX}")))


def write(folder: Path, entry: Entry) -> None:
    """Replace the GPU's journal atomically; return when file and folder are on disk.

    Raises:
        ControlFailed: It cannot be written.
    """
    path = path_of(folder, entry.uuid)
    new = path.with_suffix(".new")
    try:
        with _create(new) as file:
            file.write(json.dumps(asdict(entry)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync(folder)
    except OSError as error:
        raise ControlFailed(f"the journal {path} cannot be written: {error.strerror or error}") from error


def read(folder: Path, uuid: str) -> Entry | None:
    """Return the GPU's journal; None if it has none.

    Raises:
        ControlFailed: It cannot be read or is damaged.
    """
    path = path_of(folder, uuid)
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ControlFailed(f"the journal {path} cannot be read: {error.strerror or error}") from error
    try:
        entry = _entry(json.loads(text))
    except (ValueError, KeyError, TypeError):
        entry = None
    if entry is None or entry.uuid != uuid:
        raise ControlFailed(
            f"the journal {path} is damaged, so the settings before are unknown; look at the GPU (nvidia-smi -i "
            f"{uuid} -q -d POWER,CLOCK), set what it should have (nvidia-smi -pl, -rgc) and remove the file"
        )
    return entry


def remove(folder: Path, uuid: str) -> None:
    """Remove the GPU's journal after its settings are undone.

    Raises:
        ControlFailed: The file cannot be removed.
    """
    path = path_of(folder, uuid)
    try:
        path.unlink(missing_ok=True)
        _sync(folder)
    except OSError as error:
        raise ControlFailed(f"the journal {path} cannot be removed: {error.strerror or error}") from error


def user_of(folder: Path, uuid: str) -> int | None:
    """Return the uid of the user who wrote the GPU's journal; None if there is none."""
    try:
        return path_of(folder, uuid).lstat().st_uid
    except FileNotFoundError:
        return None


def foreign_user(folder: Path, uuid: str) -> int | None:
    """Return the uid of another user who wrote the GPU's journal; None if there is none or this process is root.

    A journal is executed with this process's rights: only root may trust other users.
    """
    user = user_of(folder, uuid)
    return None if user is None or os.geteuid() in {0, user} else user


def _create(path: Path) -> Any:
    """Create a new file: replace what a killed writer left, and do not follow a link."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o644), "w")


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _entry(values: dict[str, Any]) -> Entry:
    before_mw, clock_mhz = values["before_mw"], values["clock_mhz"]
    return Entry(
        uuid=str(values["uuid"]),
        boot_id=str(values["boot_id"]),
        pid=int(values["pid"]),
        start_ticks=int(values["start_ticks"]),
        host=str(values["host"]),
        setter=str(values["setter"]),
        before_mw=None if before_mw is None else int(before_mw),
        ours_mw=tuple(int(each) for each in values["ours_mw"]),
        clock_mhz=None if clock_mhz is None else int(clock_mhz),
        pending=bool(values["pending"]),
    )
