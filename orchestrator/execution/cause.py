"""What a cell raised, as one of our errors: text and place, independent of the user's own classes."""

import sysconfig
import traceback

from orchestrator.errors import CellError, JoulegridError

_MAX_TEXT_CHARS = 600


def as_cell_error(raised: BaseException) -> JoulegridError:
    """Our error for whatever a cell raised; one of ours is returned as it is.

    The message is one line: class, text, ``file:line`` and function of the innermost frame outside installed
    libraries. The whole traceback goes along as a note, which survives pickling.
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
