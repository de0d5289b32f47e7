"""The journal of one GPU: what stood before us and what we set, on disk before it is set."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from collectors.control.knobs import WATT_MW
from collectors.control.lock import boot_id
from collectors.errors import ControlFailed, ControlRefused

SUFFIX = ".journal"
_SAME_MW = WATT_MW  # drivers round what they are told; nobody changes a limit by less on purpose
STATE_DIR_VARIABLE = "JOULEGRID_STATE_DIR"
_DEFAULT = Path("/var/tmp/joulegrid")  # not /run or /tmp: every user may write it, nothing empties it within a month


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be undone on a GPU, whoever finds it.

    `ours_mw` are all limits the GPU may stand at because of us: the one being set, and until it is read back the one
    before. A clock lock cannot be read: `clock_mhz` is what we locked, or were about to.
    """

    uuid: str
    boot_id: str
    pid: int
    start_ticks: int
    host: str
    setter: str
    before_mw: int | None
    """None where we have set no limit."""
    ours_mw: tuple[int, ...] = ()
    clock_mhz: int | None = None
    pending: bool = False
    """Whether something is being set: a way through another process may act after its caller has died."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to undo."""
        return not self.ours_mw and self.clock_mhz is None

    @property
    def of_this_boot(self) -> bool:
        """A reboot forgets limits and locks, so that there is nothing to undo."""
        return self.boot_id == boot_id()

    def is_ours(self, limit_mw: int) -> bool:
        """Whether we set this limit: not what stood before, nor what anybody set since."""
        return limit_mw != self.before_mw and any(abs(limit_mw - each) <= _SAME_MW for each in self.ours_mw)

    def with_limit(self, limit_mw: int) -> Self:
        """A further limit that may stand."""
        return replace(self, ours_mw=tuple(dict.fromkeys((*self.ours_mw, limit_mw))))


def path_of(folder: Path, uuid: str) -> Path:
    """Where a GPU's journal is."""
    return folder / f"{uuid}{SUFFIX}"


def write(folder: Path, entry: Entry) -> None:
    """Replaces the GPU's journal; back only when file and folder are on disk, and a kill leaves the old or the new.

    Raises:
        ControlFailed: It cannot be written.
    """
    path = path_of(folder, entry.uuid)
    new = path.with_suffix(".new")
    try:
        with _created(new) as file:
            file.write(json.dumps(asdict(entry)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync(folder)
    except OSError as error:
        raise ControlFailed(f"the journal {path} cannot be written: {error.strerror or error}") from error


def read(folder: Path, uuid: str) -> Entry | None:
    """The GPU's journal; None where it has none.

    Raises:
        ControlFailed: It cannot be read or does not say what stood before us.
    """
    path = path_of(folder, uuid)
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ControlFailed(f"the journal {path} cannot be read: {error.strerror or error}") from error
    try:
        entry = _parsed(json.loads(text))
    except (ValueError, KeyError, TypeError):
        entry = None
    if entry is None or entry.uuid != uuid:
        raise ControlFailed(
            f"the journal {path} is damaged, so that nobody knows what stood before; look at the GPU (nvidia-smi -i "
            f"{uuid} -q -d POWER,CLOCK), set what it should have (nvidia-smi -pl, -rgc) and remove the file"
        )
    return entry


def remove(folder: Path, uuid: str) -> None:
    """Forgets what is undone.

    Raises:
        ControlFailed: The file cannot be removed.
    """
    path = path_of(folder, uuid)
    try:
        path.unlink(missing_ok=True)
        _sync(folder)
    except OSError as error:
        raise ControlFailed(f"the journal {path} cannot be removed: {error.strerror or error}") from error


def uuids(folder: Path) -> tuple[str, ...]:
    """The GPUs that have a journal."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"GPU-*{SUFFIX}")))


def user_of(folder: Path, uuid: str) -> int | None:
    """The user whose journal it is; None where there is none."""
    try:
        return path_of(folder, uuid).lstat().st_uid
    except FileNotFoundError:
        return None


def foreign(folder: Path, uuid: str) -> int | None:
    """The user whose journal it is, where it is neither this process's user nor this process root.

    What a journal says is done with our rights: only root believes others.
    """
    user = user_of(folder, uuid)
    return None if user is None or os.geteuid() in {0, user} else user


def _created(path: Path) -> Any:
    """A file of ours: what a killed writer left is replaced, a link is not followed."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o644), "w")


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _parsed(found: dict[str, Any]) -> Entry:
    before_mw, clock_mhz = found["before_mw"], found["clock_mhz"]
    return Entry(
        uuid=str(found["uuid"]),
        boot_id=str(found["boot_id"]),
        pid=int(found["pid"]),
        start_ticks=int(found["start_ticks"]),
        host=str(found["host"]),
        setter=str(found["setter"]),
        before_mw=None if before_mw is None else int(before_mw),
        ours_mw=tuple(int(each) for each in found["ours_mw"]),
        clock_mhz=None if clock_mhz is None else int(clock_mhz),
        pending=bool(found["pending"]),
    )


def state_dir(given: Path | None = None) -> Path:
    """The folder that is meant: the one given, `$JOULEGRID_STATE_DIR`, or the node's."""
    return given or Path(os.environ.get(STATE_DIR_VARIABLE) or _DEFAULT)


def prepared(given: Path | None = None) -> Path:
    """The folder, there and writable; other users of the node find the locks in it.

    Raises:
        ControlRefused: It cannot be made or written.
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
