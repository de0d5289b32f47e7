"""The guard: `python -m collectors.control.guard FOLDER`, started by controllers, one of a user on a node.

It watches every controller by a pidfd. When one ends it takes the locks of the GPUs that have a journal and undoes what
is there. It is nobody's child and in a session of its own, outlives Ray, drivers and lanes, takes no notice of SIGTERM
and SIGHUP (batch systems send them to all, and the controllers' end is yet to come), and ends by itself.
"""

import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from collectors.control import journal
from collectors.control.guard_link import WATCHING, address, peer
from collectors.control.lock import GpuLock, holder_of, start_ticks
from collectors.control.setter import load
from collectors.control.undo import entry_of, not_restored, undo
from collectors.errors import CollectorError
from collectors.nvml_devices import Nvml

_ROLE = "guard"
_LOOK_EVERY_S = 1.0
_LOOK_AFTER_A_DEATH_S = 0.02
_WAIT_FOR_FIRST_S = 10.0
_GIVE_UP_S = 60.0
_FORKED_CHILD_S = 2.0
_HASTY_S = 2 * _FORKED_CHILD_S


class Guard:
    """Watches controllers, by the connections they hold and their processes."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        """`listener` is bound to the guard's address."""
        self._folder = folder
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._connections: set[socket.socket] = set()
        self._pidfds: dict[int, tuple[int, int]] = {}
        """Processes, by pid and start."""
        self._ended: dict[tuple[int, int], float] = {}
        """When those that have ended were seen to."""
        self._hasty_until_s = 0.0
        self._errors: dict[str, str] = {}

    def run(self) -> None:
        """Until nobody is watched and nothing is left to undo, or what is left could not be undone for a minute."""
        begun, alone_s, left = False, time.monotonic(), False
        while True:
            hasty = left and time.monotonic() < self._hasty_until_s
            for key, _ in self._selector.select(_LOOK_AFTER_A_DEATH_S if hasty else _LOOK_EVERY_S):
                self._heard(key.fileobj)
            left = self._sweep()
            if self._connections:
                begun, alone_s = True, time.monotonic()
            elif time.monotonic() - alone_s > (_GIVE_UP_S if left else 0.0 if begun else _WAIT_FOR_FIRST_S):
                return

    def _heard(self, source: object) -> None:
        if source is self._listener:
            self._welcome(self._listener.accept()[0])
        elif isinstance(source, socket.socket):
            self._selector.unregister(source)
            self._connections.discard(source)
            source.close()
            self._hasty_until_s = (
                time.monotonic() + _HASTY_S
            )  # it lets go, or dies and holds its locks for a moment yet
        elif isinstance(source, int):
            self._selector.unregister(source)
            self._ended[self._pidfds.pop(source)] = time.monotonic()
            os.close(source)
            self._hasty_until_s = time.monotonic() + _HASTY_S

    def _welcome(self, connection: socket.socket) -> None:
        pid, user = peer(connection)
        if user != os.geteuid():
            connection.close()
            return
        with suppress(OSError):  # it has ended, or is not of our namespace: the connection's end tells, too
            self._watch(pid)
        self._connections.add(connection)
        self._selector.register(connection, selectors.EVENT_READ)
        with suppress(OSError):
            connection.sendall(WATCHING)

    def _watch(self, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        process = (pid, start_ticks(pid) or 0)
        if process in self._pidfds.values():
            os.close(pidfd)
        else:
            self._pidfds[pidfd] = process
            self._selector.register(pidfd, selectors.EVENT_READ)

    def _sweep(self) -> bool:
        """Undoes what nobody holds; whether a journal is left: of a controller that lives, or not to be undone now."""
        undone: list[bool] = []
        for outwait in (False, True):  # all are brought back before one is waited for
            ours = [uuid for uuid in journal.uuids(self._folder) if journal.user_of(self._folder, uuid) == os.geteuid()]
            undone = [self._try(uuid, outwait) for uuid in ours]
        return not all(undone)

    def _try(self, uuid: str, outwait: bool) -> bool:
        """Whether there is nothing to undo on a GPU any more."""
        try:
            lock = GpuLock.try_take(self._folder, uuid, _ROLE)
            if lock is None and not self._left_to_a_child(uuid):
                return False
            try:
                self._undo(uuid, outwait)
            finally:
                if lock is not None:
                    lock.release()
        except Exception as error:  # a supervisor: whatever becomes of one GPU, the others are to be brought back
            if self._errors.get(uuid) != str(error):  # it is tried again, and told once
                self._errors[uuid] = str(error)
                self._tell(uuid, {"error": str(error)})
            return False
        return True

    def _left_to_a_child(self, uuid: str) -> bool:
        """Whether the lock of a controller that has ended is held by a child it forked, which knows nothing of it."""
        holder = holder_of(self._folder, uuid)
        if holder is None:
            return False
        ended_s = self._ended.get((holder.pid, holder.start_ticks))
        return ended_s is not None and time.monotonic() - ended_s > _FORKED_CHILD_S

    def _undo(self, uuid: str, outwait: bool) -> None:
        entry = entry_of(self._folder, uuid)
        if entry is None:  # its controller was faster
            return
        with Nvml():
            try:
                done = undo(self._folder, entry, lambda: load(entry.setter), outwait=outwait)
            except CollectorError as error:
                raise not_restored(self._folder, uuid, error) from error
        self._tell(uuid, done.plain())

    def _tell(self, uuid: str, what: dict[str, object]) -> None:
        sys.stderr.write(f"{datetime.now(UTC).isoformat()} guard {os.getpid()} {json.dumps({'uuid': uuid, **what})}\n")
        sys.stderr.flush()


def _outlast_shortage() -> None:
    """Ray's workers are the first that the kernel kills when memory runs out, and what they start with them."""
    for score in ("-500", "0"):  # less than 0 is root's
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(score)
            return


def main(folder: Path) -> None:
    """Becomes the guard of the folder, in a child that nobody waits for; ends at once where there is one."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address(folder))
    except OSError:  # another guard has it
        return
    listener.listen()
    if os.fork():
        os._exit(0)
    listener.listen()  # again: who connects asks for the pid of whoever did it last
    for ignored in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    _outlast_shortage()
    Guard(folder, listener).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
