"""The folder of journals and locks: one on a node, whoever sets its GPUs."""

import os
from pathlib import Path

from collectors.errors import ControlRefused

STATE_DIR_VARIABLE = "JOULEGRID_STATE_DIR"
_DEFAULT = Path("/var/tmp/joulegrid")  # not /run or /tmp: every user may write it, nothing empties it within a month


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
