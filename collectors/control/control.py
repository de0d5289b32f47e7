"""Control of power limits and SM clocks of GPUs, from `acquire` until `close`."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from collectors.control import driver, journal
from collectors.control.checks import check_range, permitted_setter
from collectors.control.driver import settled_clock_mhz, settled_limit_mw
from collectors.control.guard_link import GuardLink
from collectors.control.journal import Entry, prepare_state_dir
from collectors.control.knobs import Applied, AppliedGpu, Knobs
from collectors.control.lock import CONTROLLER, GpuLock, Owner
from collectors.control.setter import AUTO, Setter
from collectors.control.undo import Undone, not_restored, replay, restore_limit, undo
from collectors.errors import CollectorError, ControlFailed, NotSupported
from collectors.nvml_devices import Gpu, Nvml
from collectors.processes import boot_id


def acquire(uuids: Sequence[str | int], *, setter: str = AUTO, state_dir: Path | None = None) -> "Control":
    """Lock GPUs and undo what dead controllers have left on them. Set nothing else yet.

    Args:
        uuids: GPUs, by UUID, its beginning, or index; duplicates count once.
        setter: `auto`, `nvml`, `zeusd`, `sudo_nvidia_smi`, or a dotted path.
        state_dir: Folder of journals and locks; by default that of the node.

    Raises:
        SetByOthers: Another process controls a GPU, or its journal is another user's.
        ControlRefused: A GPU is divided by MIG, or the folder cannot be written.
        ControlFailed: What was left on a GPU cannot be undone.
        CollectorError: There is no driver, or a GPU is not known or does not answer.
    """
    folder = prepare_state_dir(state_dir)
    with ExitStack() as held:
        gpus = driver.whole_gpus(held.enter_context(Nvml()), uuids)
        for gpu in gpus:
            held.callback(GpuLock.take(folder, gpu.uuid, CONTROLLER).release)
        replayed = [replay(folder, gpu.uuid, setter) for gpu in gpus]
        return Control(folder, gpus, setter, tuple(filter(None, replayed)), held.pop_all())


class Control:
    """Control of locked GPUs; made by `acquire`. One thread at a time may use it; `with` closes it."""

    def __init__(
        self, folder: Path, gpus: tuple[Gpu, ...], setter_name: str, replayed: tuple[Undone, ...], held: ExitStack
    ) -> None:
        self.gpus = gpus
        self.replayed = replayed
        """What dead controllers had left and was undone."""
        self._folder = folder
        self._setter_name = setter_name
        self._held = held
        self._setter: Setter | None = None
        self._guard: GuardLink | None = None
        self._entries: dict[str, Entry] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def check(self, knobs: Knobs) -> None:
        """Raise if `apply` would be refused; change nothing.

        Raises:
            ControlRefused: Out of range, not supported, or not permitted; the message says what to do.
        """
        check_range(self.gpus, knobs)
        if knobs.named:
            self._permitted(self.gpus[0].uuid, knobs)

    def apply(self, knobs: Knobs) -> Applied:
        """Set every GPU, read it back and wait until it has settled. If one fails, restore all.

        Raises:
            ControlRefused: Out of range, not supported, or not permitted; nothing was set.
            ControlFailed: A GPU did not take its setting.
            CollectorError: A GPU does not answer.
        """
        self.check(knobs)
        start_s = time.monotonic()
        with ExitStack() as undoing:
            undoing.callback(self.restore)
            for gpu in self.gpus:
                self._set_limit(gpu.uuid, knobs)
                self._set_clock(gpu.uuid, knobs)
            settled = tuple(self._settled(gpu.uuid, knobs, start_s) for gpu in self.gpus)
            undoing.pop_all()
        return Applied(settled, self._setter.name if self._setter and knobs.named else None)

    def restore(self) -> tuple[Undone, ...]:
        """Restore every GPU to its settings before; a limit that another program has set since stays.

        Raises:
            ControlFailed: A GPU was not restored; its journal stays.
        """
        done, failed = [], []
        for uuid, entry in tuple(self._entries.items()):
            try:
                done.append(undo(self._folder, entry, partial(self._permitted, uuid, Knobs())))
                del self._entries[uuid]
            except CollectorError as error:
                failed.append(not_restored(self._folder, uuid, error))
        if failed:
            raise ControlFailed("; ".join(map(str, failed)))
        return tuple(done)

    def close(self) -> None:
        """Restore the GPUs and release their locks; a second call does nothing.

        Raises:
            ControlFailed: A GPU was not restored; the guard tries again for a minute.
        """
        try:
            self.restore()
        finally:
            self._entries.clear()
            self._held.close()  # release the locks first: the guard restores only unlocked GPUs
            if self._guard is not None:
                self._guard.close()
                self._guard = None

    def _permitted(self, uuid: str, knobs: Knobs) -> Setter:
        if self._setter is None:
            self._setter = permitted_setter(self._setter_name, uuid, knobs)
        return self._setter

    def _set_limit(self, uuid: str, knobs: Knobs) -> None:
        entry, requested_mw = self._entries.get(uuid), knobs.power_limit_mw
        if requested_mw is None:
            if entry is not None and entry.ours_mw:
                restore_limit(entry, driver.limit_mw(uuid), partial(self._permitted, uuid, knobs))
                self._store(replace(entry, ours_mw=(), before_mw=None))
            return
        present_mw = driver.limit_mw(uuid)
        if present_mw == requested_mw:
            return
        setter = self._permitted(uuid, knobs)
        self._journal(self._limit_entry(uuid, setter, present_mw).with_limit(requested_mw), setter)
        setter.set_power_limit(uuid, requested_mw)

    def _set_clock(self, uuid: str, knobs: Knobs) -> None:
        entry, requested_mhz = self._entries.get(uuid), knobs.sm_clock_mhz
        locked_mhz = None if entry is None else entry.clock_mhz
        if requested_mhz == locked_mhz:
            return
        setter = self._permitted(uuid, knobs)
        if requested_mhz is None:
            setter.unlock_sm_clock(uuid)
            self._store(replace(self._entries[uuid], clock_mhz=None))
            return
        self._journal(replace(entry or self._new_entry(uuid, setter), clock_mhz=requested_mhz), setter)
        setter.lock_sm_clock(uuid, requested_mhz)

    def _settled(self, uuid: str, knobs: Knobs, start_s: float) -> AppliedGpu:
        """Wait for the settings and return them as read back; the journal then has only the limit that is set."""
        entry, requested_mw = self._entries.get(uuid), knobs.power_limit_mw
        if requested_mw is None:
            try:
                limit_mw: int | None = driver.enforced_limit_mw(uuid)
            except NotSupported:
                limit_mw = None
        else:
            limit_mw = settled_limit_mw(uuid, requested_mw, enforced=True)
        clock_mhz = settled_clock_mhz(uuid, knobs.sm_clock_mhz)
        if entry is not None:
            ours_mw = (driver.limit_mw(uuid),) if entry.ours_mw else ()
            self._store(replace(entry, ours_mw=ours_mw, pending=False))
        limit_w = None if limit_mw is None else limit_mw / 1000
        return AppliedGpu(uuid, limit_w, clock_mhz, time.monotonic() - start_s)

    def _limit_entry(self, uuid: str, setter: Setter, present_mw: int) -> Entry:
        """Return what to undo of a limit; a limit that another program set meanwhile is the one to restore."""
        entry = self._entries.get(uuid) or self._new_entry(uuid, setter)
        if entry.before_mw is None or (present_mw != entry.before_mw and not entry.is_ours(present_mw)):
            return replace(entry, before_mw=present_mw, ours_mw=())
        return entry

    def _new_entry(self, uuid: str, setter: Setter) -> Entry:
        owner = Owner.this(CONTROLLER)
        return Entry(uuid, boot_id(), owner.pid, owner.start_ticks, owner.host, setter.name, before_mw=None)

    def _journal(self, entry: Entry, setter: Setter) -> None:
        """Write the journal to disk, and be watched by a guard, before the setting is made."""
        if self._guard is not None and not self._guard.alive:
            self._guard.close()
            self._guard = None
        if self._guard is None:
            self._guard = GuardLink.ensured(self._folder)
        self._store(replace(entry, pending=setter.acts_late))

    def _store(self, entry: Entry) -> None:
        if self._entries.get(entry.uuid) == entry:
            return
        if entry.idle:
            journal.remove(self._folder, entry.uuid)
            del self._entries[entry.uuid]
        else:
            journal.write(self._folder, entry)
            self._entries[entry.uuid] = entry
