"""Who may set a GPU, and what would grant it."""

import getpass
import shutil

from collectors.control.knobs import Knobs
from collectors.control.setter import Setter, choose
from collectors.errors import NotPermitted


def permitted(wanted: str, uuid: str, knobs: Knobs) -> Setter:
    """The setter that may set the GPU, whose lock the caller holds.

    Raises:
        NotPermitted: None may; the one line names what would grant it and the override that drops the axis.
    """
    try:
        return choose(wanted, uuid)
    except NotPermitted as error:
        raise NotPermitted(advice(uuid, knobs, error)) from error


def advice(uuid: str, knobs: Knobs, cause: Exception) -> str:
    """What would grant it, on one line."""
    asked = " and ".join(knobs.named) or "a limit or clock"
    dropped = f"; or leave it out: {' '.join(f'{key}=null' for key in knobs.named)}" if knobs.named else ""
    smi = shutil.which("nvidia-smi") or "/usr/bin/nvidia-smi"
    return (
        f"{asked} may not be set on GPU {uuid} by this process; one of these grants it: root or CAP_SYS_ADMIN (a "
        f"container: --cap-add SYS_ADMIN); the sudoers line `{_user()} ALL=(root) NOPASSWD: {smi}`; zeusd with "
        f"gpu-control and ZEUSD_SOCK_PATH{dropped} (tried: {' '.join(str(cause).split())})"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "USER"
