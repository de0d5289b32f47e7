"""Holding power limits and clocks of some GPUs, from `acquire` until `close`."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from collectors.control import driver, journal
from collectors.control.checks import permitted, refuse_out_of_range
from collectors.control.driver import settled_clock_mhz, settled_limit_mw
from collectors.control.guard_link import GuardLink
from collectors.control.journal import Entry, prepared
from collectors.control.knobs import Applied, AppliedGpu, Knobs
from collectors.control.lock import CONTROLLER, GpuLock, Owner, boot_id
from collectors.control.setter import AUTO, Setter
from collectors.control.undo import Undone, not_restored, replay, restore_limit, undo
from collectors.errors import CollectorError, ControlFailed, NotSupported
from collectors.nvml_devices import Gpu, Nvml


def acquire(uuids: Sequence[str | int], *, setter: str = AUTO, state_dir: Path | None = None) -> "Control":
    """Takes the GPUs, and undoes what dead controllers have left on them. Nothing else is set yet.

    Args:
        uuids: GPUs, by UUID, its beginning, or index; naming one twice is naming it once.
        setter: `auto`, `nvml`, `zeusd`, `sudo_nvidia_smi`, or a dotted path.
        state_dir: Folder of journals and locks; the node's, unless something else is meant.

    Raises:
        SetByOthers: Another process controls one of them, or its journal is another user's.
        ControlRefused: One is divided by MIG, or the folder cannot be written.
        ControlFailed: What was left on one cannot be undone.
        CollectorError: There is no driver, or one of them is not known or does not answer.
    """
    folder = prepared(state_dir)
    with ExitStack() as held:
        gpus = driver.whole_gpus(held.enter_context(Nvml()), uuids)
        for gpu in gpus:
            held.callback(GpuLock.take(folder, gpu.uuid, CONTROLLER).release)
        replayed = [replay(folder, gpu.uuid, setter) for gpu in gpus]
        return Control(folder, gpus, setter, tuple(filter(None, replayed)), held.pop_all())


class Control:
    """Limits and clocks of some GPUs. One thread at a time may use it; `with` closes it."""

    def __init__(
        self, folder: Path, gpus: tuple[Gpu, ...], wanted: str, replayed: tuple[Undone, ...], held: ExitStack
    ) -> None:
        """Of GPUs whose locks are in `held`."""
        self.gpus = gpus
        self.replayed = replayed
        """What dead controllers had left, and what became of it."""
        self._folder = folder
        self._wanted = wanted
        self._held = held
        self._setter: Setter | None = None
        self._guard: GuardLink | None = None
        self._entries: dict[str, Entry] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def check(self, knobs: Knobs) -> None:
        """Whether `apply` would be let; nothing changes.

        Raises:
            ControlRefused: Out of range, not supported, or not permitted; the message says what to do.
        """
        refuse_out_of_range(self.gpus, knobs)
        if knobs.named:
            self._chosen(self.gpus[0].uuid, knobs)

    def apply(self, knobs: Knobs) -> Applied:
        """Sets every GPU, reads back and waits until it has settled.

        Where that fails all GPUs are brought back to what stood before us.

        Raises:
            ControlRefused: Out of range, not supported, or not permitted; nothing was set.
            ControlFailed: A GPU did not become what it was set to.
            CollectorError: A GPU does not answer.
        """
        self.check(knobs)
        start_s = time.monotonic()
        with ExitStack() as undoing:
            undoing.callback(self.restore)
            for gpu in self.gpus:
                self._set_limit(gpu.uuid, knobs)
                self._set_clock(gpu.uuid, knobs)
            done = tuple(self._settled(gpu.uuid, knobs, start_s) for gpu in self.gpus)
            undoing.pop_all()
        return Applied(done, self._setter.name if self._setter and knobs.named else None)

    def restore(self) -> tuple[Undone, ...]:
        """Brings every GPU back to what stood before us; what somebody else has set since stays.

        Raises:
            ControlFailed: One was not brought back; its journal stays.
        """
        done, failed = [], []
        for uuid, entry in tuple(self._entries.items()):
            try:
                done.append(undo(self._folder, entry, partial(self._chosen, uuid, Knobs())))
                del self._entries[uuid]
            except CollectorError as error:
                failed.append(not_restored(self._folder, uuid, error))
        if failed:
            raise ControlFailed("; ".join(map(str, failed)))
        return tuple(done)

    def close(self) -> None:
        """Restores, then lets the GPUs go; a second time does nothing.

        Raises:
            ControlFailed: A GPU was not brought back; the guard goes on trying for a minute.
        """
        try:
            self.restore()
        finally:
            self._entries.clear()
            self._held.close()  # the locks before the guard, which undoes what is free to be undone
            if self._guard is not None:
                self._guard.close()
                self._guard = None

    def _chosen(self, uuid: str, knobs: Knobs) -> Setter:
        if self._setter is None:
            self._setter = permitted(self._wanted, uuid, knobs)
        return self._setter

    def _set_limit(self, uuid: str, knobs: Knobs) -> None:
        entry, wanted_mw = self._entries.get(uuid), knobs.power_limit_mw
        if wanted_mw is None:
            if entry is not None and entry.ours_mw:
                restore_limit(entry, driver.limit_mw(uuid), partial(self._chosen, uuid, knobs))
                self._keep(replace(entry, ours_mw=(), before_mw=None))
            return
        found_mw = driver.limit_mw(uuid)
        if found_mw == wanted_mw:
            return
        setter = self._chosen(uuid, knobs)
        self._journal(self._entry(uuid, setter, found_mw).with_limit(wanted_mw), setter)
        setter.set_power_limit(uuid, wanted_mw)

    def _set_clock(self, uuid: str, knobs: Knobs) -> None:
        entry, wanted_mhz = self._entries.get(uuid), knobs.sm_clock_mhz
        standing_mhz = None if entry is None else entry.clock_mhz
        if wanted_mhz == standing_mhz:
            return
        setter = self._chosen(uuid, knobs)
        if wanted_mhz is None:
            setter.unlock_sm_clock(uuid)
            self._keep(replace(self._entries[uuid], clock_mhz=None))
            return
        self._journal(replace(entry or self._new(uuid, setter), clock_mhz=wanted_mhz), setter)
        setter.lock_sm_clock(uuid, wanted_mhz)

    def _settled(self, uuid: str, knobs: Knobs, start_s: float) -> AppliedGpu:
        """As it is read back; the journal then has the one limit that stands."""
        entry, wanted_mw = self._entries.get(uuid), knobs.power_limit_mw
        if wanted_mw is None:
            try:
                limit_mw: int | None = driver.enforced_limit_mw(uuid)
            except NotSupported:
                limit_mw = None
        else:
            limit_mw = settled_limit_mw(uuid, wanted_mw, enforced=True)
        clock_mhz = settled_clock_mhz(uuid, knobs.sm_clock_mhz)
        if entry is not None:
            stands = (driver.limit_mw(uuid),) if entry.ours_mw else ()
            self._keep(replace(entry, ours_mw=stands, pending=False))
        limit_w = None if limit_mw is None else limit_mw / 1000
        return AppliedGpu(uuid, limit_w, clock_mhz, time.monotonic() - start_s)

    def _entry(self, uuid: str, setter: Setter, found_mw: int) -> Entry:
        """What is to be undone of a GPU's limit; one that somebody set while we held the GPU is one before us."""
        entry = self._entries.get(uuid) or self._new(uuid, setter)
        if entry.before_mw is None or (found_mw != entry.before_mw and not entry.is_ours(found_mw)):
            return replace(entry, before_mw=found_mw, ours_mw=())
        return entry

    def _new(self, uuid: str, setter: Setter) -> Entry:
        owner = Owner.this(CONTROLLER)
        return Entry(uuid, boot_id(), owner.pid, owner.start_ticks, owner.host, setter.name, before_mw=None)

    def _journal(self, entry: Entry, setter: Setter) -> None:
        """On disk, and watched by a guard, before it is set."""
        if self._guard is not None and not self._guard.alive:
            self._guard.close()
            self._guard = None
        if self._guard is None:
            self._guard = GuardLink.ensured(self._folder)
        self._keep(replace(entry, pending=setter.acts_late))

    def _keep(self, entry: Entry) -> None:
        if self._entries.get(entry.uuid) == entry:
            return
        if entry.idle:
            journal.remove(self._folder, entry.uuid)
            del self._entries[entry.uuid]
        else:
            journal.write(self._folder, entry)
            self._entries[entry.uuid] = entry
