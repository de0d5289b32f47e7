"""Whether GPUs may be set, found out before an engine starts."""

import getpass
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from collectors.control import driver
from collectors.control.journal import prepared
from collectors.control.knobs import Knobs
from collectors.control.lock import GpuLock
from collectors.control.setter import AUTO, Setter, choose
from collectors.errors import CollectorError, ControlRefused, NotPermitted, NotSupported
from collectors.nvml_devices import Gpu, Nvml

_ROLE = "check"


def check(uuids: Sequence[str | int], knobs: Knobs, *, setter: str = AUTO, state_dir: Path | None = None) -> None:
    """Whether these GPUs can be set so by this process, now. Nothing changes, and nothing is kept.

    Raises:
        ControlRefused: On one line: out of range (with the range), not supported, not permitted (with what would grant
            it and the override that drops the axis), divided by MIG, controlled by another process, no driver, or no
            folder for the journal.
    """
    if not knobs.named:
        return
    folder = prepared(state_dir)
    try:
        with Nvml() as nvml:
            gpus = driver.whole_gpus(nvml, uuids)
            refuse_out_of_range(gpus, knobs)
            for gpu in gpus:
                lock = GpuLock.take(folder, gpu.uuid, _ROLE)
                try:
                    permitted(setter, gpu.uuid, knobs)
                finally:
                    lock.release()
    except ControlRefused:
        raise
    except CollectorError as error:
        dropped = " ".join(f"{key}=null" for key in knobs.named)
        raise ControlRefused(f"{' and '.join(knobs.named)} cannot be set: {error}; {dropped} leaves it out") from error


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


def refuse_out_of_range(gpus: Iterable[Gpu], knobs: Knobs) -> None:
    """Checks every GPU.

    Raises:
        ControlRefused: One cannot be set so; the message has the range, or says that it has no such setting.
    """
    for gpu in gpus:
        if knobs.power_limit_w is not None:
            _refuse_limit(gpu, knobs.power_limit_w)
        if knobs.sm_clock_mhz is not None:
            _refuse_clock(gpu, knobs.sm_clock_mhz)


def _refuse_limit(gpu: Gpu, limit_w: float) -> None:
    try:
        least_w, most_w = driver.limit_range_w(gpu.uuid)
    except NotSupported as error:
        raise NotSupported(
            f"GPU {gpu.index} ({gpu.name}, {gpu.uuid}) has no power limit that can be set; "
            "hardware.power_limit_w=null leaves it out"
        ) from error
    if not least_w <= limit_w <= most_w:
        raise ControlRefused(
            f"hardware.power_limit_w={limit_w:g} is out of range on GPU {gpu.index} ({gpu.name}, {gpu.uuid}): allowed "
            f"are {least_w:g} to {most_w:g} W; hardware.power_limit_w=null leaves the limit as it is"
        )


def _refuse_clock(gpu: Gpu, clock_mhz: int) -> None:
    try:
        least_mhz, most_mhz = driver.sm_clock_range_mhz(gpu.uuid)
    except NotSupported as error:
        raise NotSupported(
            f"GPU {gpu.index} ({gpu.name}, {gpu.uuid}) has no SM clock that can be locked; "
            "hardware.sm_clock_mhz=null leaves it out"
        ) from error
    if not least_mhz <= clock_mhz <= most_mhz:
        raise ControlRefused(
            f"hardware.sm_clock_mhz={clock_mhz} is out of range on GPU {gpu.index} ({gpu.name}, {gpu.uuid}): allowed "
            f"are {least_mhz} to {most_mhz} MHz; hardware.sm_clock_mhz=null leaves the clock to the driver"
        )
