"""The guard, `python -m collectors.control.guard FOLDER`: restores the GPUs of controllers that die.

Controllers start one guard per user and node. It watches each controller by a pidfd. When a controller ends, the guard
takes the locks of the GPUs that have a journal and undoes the settings. It is a daemon in a session of its own, so it
outlives Ray, drivers and lanes. It ignores SIGTERM and SIGHUP, which batch systems send to all processes before the
controllers have ended, and ends by itself.
"""

import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from collectors.control import journal
from collectors.control.guard_link import WATCHING, address, peer
from collectors.control.lock import GpuLock, holder_of
from collectors.control.setter import load
from collectors.control.undo import entry_of, not_restored, undo
from collectors.errors import CollectorError
from collectors.nvml_devices import Nvml
from collectors.processes import ProcessId

_ROLE = "guard"
_POLL_S = 1.0
_FAST_POLL_S = 0.02
_FIRST_CONTROLLER_TIMEOUT_S = 10.0
_RESTORE_TIMEOUT_S = 60.0
_FORKED_CHILD_S = 2.0
"""A lock still held so long after its controller has ended is held by a child that the controller forked."""
_FAST_POLLING_S = 2 * _FORKED_CHILD_S


class Guard:
    """Watches controllers, by their connections and processes, and restores the GPUs of those that end.

    Args:
        folder: Of the journals and locks.
        listener: A socket bound to the guard's address.
    """

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self._folder = folder
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._connections: set[socket.socket] = set()
        self._pidfds: dict[int, ProcessId] = {}
        self._ended_s: dict[ProcessId, float] = {}
        """When each controller was seen to have ended."""
        self._fast_until_s = 0.0
        self._errors: dict[str, str] = {}

    def run(self) -> None:
        """Run until no controller is left and all is restored, or could not be restored for a minute."""
        had_controller, alone_since_s, left = False, time.monotonic(), False
        while True:
            fast = left and time.monotonic() < self._fast_until_s
            for key, _ in self._selector.select(_FAST_POLL_S if fast else _POLL_S):
                self._handle(key.fileobj)
            left = self._restore_free()
            if self._connections:
                had_controller, alone_since_s = True, time.monotonic()
                continue
            timeout_s = _RESTORE_TIMEOUT_S if left else 0.0 if had_controller else _FIRST_CONTROLLER_TIMEOUT_S
            if time.monotonic() - alone_since_s > timeout_s:
                return

    def _handle(self, source: object) -> None:
        if source is self._listener:
            self._accept(self._listener.accept()[0])
        elif isinstance(source, socket.socket):
            self._selector.unregister(source)
            self._connections.discard(source)
            source.close()
            # The controller has closed, or is dying and holds its locks for another moment.
            self._fast_until_s = time.monotonic() + _FAST_POLLING_S
        elif isinstance(source, int):
            self._selector.unregister(source)
            self._ended_s[self._pidfds.pop(source)] = time.monotonic()
            os.close(source)
            self._fast_until_s = time.monotonic() + _FAST_POLLING_S

    def _accept(self, connection: socket.socket) -> None:
        pid, user = peer(connection)
        if user != os.geteuid():
            connection.close()
            return
        with suppress(OSError):  # it has ended, or is of another pid namespace; the connection's end is enough
            self._watch(pid)
        self._connections.add(connection)
        self._selector.register(connection, selectors.EVENT_READ)
        with suppress(OSError):
            connection.sendall(WATCHING)

    def _watch(self, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        process = ProcessId.of(pid) or ProcessId(pid, 0)
        if process in self._pidfds.values():
            os.close(pidfd)
        else:
            self._pidfds[pidfd] = process
            self._selector.register(pidfd, selectors.EVENT_READ)

    def _restore_free(self) -> bool:
        """Restore the GPUs whose lock is free; return whether a journal of this user is left."""
        restored: list[bool] = []
        for outwait in (False, True):  # restore all GPUs before waiting for one
            own = [uuid for uuid in journal.uuids(self._folder) if journal.user_of(self._folder, uuid) == os.geteuid()]
            restored = [self._try_restore(uuid, outwait) for uuid in own]
        return not all(restored)

    def _try_restore(self, uuid: str, outwait: bool) -> bool:
        """Return whether nothing is left to undo on a GPU."""
        try:
            lock = GpuLock.try_take(self._folder, uuid, _ROLE)
            if lock is None and not self._held_by_forked_child(uuid):
                return False
            try:
                self._undo(uuid, outwait)
            finally:
                if lock is not None:
                    lock.release()
        except Exception as error:  # a supervisor: an error of one GPU must not keep the others from being restored
            if self._errors.get(uuid) != str(error):  # log it once, although it is tried again
                self._errors[uuid] = str(error)
                self._log(uuid, {"error": str(error)})
            return False
        return True

    def _held_by_forked_child(self, uuid: str) -> bool:
        """Return whether only a child that an ended controller forked still has the lock's file open."""
        holder = holder_of(self._folder, uuid)
        if holder is None:
            return False
        ended_s = self._ended_s.get(ProcessId(holder.pid, holder.start_ticks))
        return ended_s is not None and time.monotonic() - ended_s > _FORKED_CHILD_S

    def _undo(self, uuid: str, outwait: bool) -> None:
        entry = entry_of(self._folder, uuid)
        if entry is None:  # its controller has restored it
            return
        with Nvml():
            try:
                done = undo(self._folder, entry, lambda: load(entry.setter), outwait=outwait)
            except CollectorError as error:
                raise not_restored(self._folder, uuid, error) from error
        self._log(uuid, asdict(done))

    def _log(self, uuid: str, values: dict[str, object]) -> None:
        line = json.dumps({"uuid": uuid, **values})
        sys.stderr.write(f"{datetime.now(UTC).isoformat()} guard {os.getpid()} {line}\n")
        sys.stderr.flush()


def _lower_oom_score() -> None:
    """Protect the guard from the kernel's OOM killer: it inherits the high score that Ray gives to its workers."""
    for score in ("-500", "0"):  # only root may set less than 0
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(score)
            return


def main(folder: Path) -> None:
    """Become the guard of the folder, in a daemon process; end at once if there is a guard already."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address(folder))
    except OSError:  # another guard has the address
        return
    listener.listen()
    if os.fork():
        os._exit(0)
    listener.listen()  # again: SO_PEERCRED returns the pid of the process that listened last
    for ignored in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    _lower_oom_score()
    Guard(folder, listener).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
