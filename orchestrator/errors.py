"""The errors of Joulegrid, in one tree.

    JoulegridError
    ├── UserError               the input is wrong                                 exit code 2, never retried
    ├── EnvironmentFailure      a folder, a cluster or a service is not usable     exit code 3
    │   └── LimitsRefused       a node's GPUs may not be set; cells that set nothing can still run there
    ├── CellError               this cell cannot run; others can                   the cell is recorded failed
    │   ├── InfeasibleCell      known before it starts (memory, GPUs)
    │   └── VirtualDeadlock     in virtual time, work waits for something that never happens
    └── InfrastructureError     a worker, node or link was lost; the cell may run  retried elsewhere

A message is one line: what was wrong, what is allowed, and where to look next. Map vendor errors to one of these
where the vendor is called, with ``raise … from``. Every class takes one message, so that an error can be pickled.
"""

import difflib
import sysconfig
import traceback
from collections.abc import Iterable

_MAX_TEXT_CHARS = 600


class JoulegridError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class UserError(JoulegridError):
    """The input is wrong: raised before anything is written or any GPU is held."""

    exit_code = 2


class EnvironmentFailure(JoulegridError):
    """The environment is not usable: an unwritable folder, a dead cluster, a wrong token."""

    exit_code = 3


class LimitsRefused(EnvironmentFailure):
    """This process may not set the GPUs of a node, or another process sets them; cells that set nothing can run."""


class CellError(JoulegridError):
    """The cell cannot run as it is written; repeating it would fail again."""


class InfeasibleCell(CellError):
    """The cell fits no node. This is known from its configuration, so it is never started."""


class VirtualDeadlock(CellError):
    """Nothing is scheduled in virtual time while work is pending; the message names what waits and where."""


class InfrastructureError(JoulegridError):
    """A worker, node or link was lost while the cell ran; the cell itself may be fine."""


def as_cell_error(raised: BaseException) -> JoulegridError:
    """Return a `CellError` for any exception; a `JoulegridError` is returned unchanged.

    The message is one line: class, text, ``file:line`` and function of the innermost frame outside installed
    libraries. The whole traceback is added as a note, which survives pickling.
    """
    if isinstance(raised, JoulegridError):
        return raised
    text = " ".join(str(raised).split())
    if len(text) > _MAX_TEXT_CHARS:
        text = text[: _MAX_TEXT_CHARS - 1] + "…"
    named = f"{type(raised).__name__}: {text}" if text else type(raised).__name__
    error = CellError(f"{named} ({_place(raised)})")
    error.add_note("".join(traceback.format_exception(raised)))
    return error


def _place(raised: BaseException) -> str:
    frames = traceback.extract_tb(raised.__traceback__)
    if not frames:
        return "place unknown"
    libraries = ("<frozen ", *(sysconfig.get_path(key) for key in ("stdlib", "purelib", "platlib")))
    own = [frame for frame in frames if not frame.filename.startswith(libraries)]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno} in {frame.name}"


def allowed_names(given: str, allowed: Iterable[str]) -> str:
    """Return a clause for a message: the nearest name, if one is close, and all allowed names."""
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1)
    listed = f"allowed: {', '.join(names)}" if names else "nothing is allowed there"
    return f"did you mean {near[0]}? {listed}" if near else listed
