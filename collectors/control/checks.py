"""Checks of whether GPUs can be set as requested, before anything is set."""

import getpass
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from collectors.control import driver
from collectors.control.journal import prepare_state_dir
from collectors.control.knobs import Knobs
from collectors.control.lock import GpuLock
from collectors.control.setter import AUTO, Setter, choose
from collectors.errors import CollectorError, ControlRefused, NotPermitted, NotSupported
from collectors.nvml_devices import Gpu, Nvml

_ROLE = "check"


def check(uuids: Sequence[str | int], knobs: Knobs, *, setter: str = AUTO, state_dir: Path | None = None) -> None:
    """Raise unless this process can now set these GPUs as requested. Change nothing and keep no lock.

    Raises:
        ControlRefused: On one line: out of range (with the range), not supported, not permitted (with what would grant
            it and the override that drops the axis), divided by MIG, controlled by another process, no driver, or no
            folder for the journal.
    """
    if not knobs.named:
        return
    folder = prepare_state_dir(state_dir)
    try:
        with Nvml() as nvml:
            gpus = driver.whole_gpus(nvml, uuids)
            check_range(gpus, knobs)
            for gpu in gpus:
                lock = GpuLock.take(folder, gpu.uuid, _ROLE)
                try:
                    permitted_setter(setter, gpu.uuid, knobs)
                finally:
                    lock.release()
    except ControlRefused:
        raise
    except CollectorError as error:
        raise ControlRefused(
            f"{' and '.join(knobs.named)} cannot be set: {error}; {knobs.overrides} leaves it out"
        ) from error


def permitted_setter(name: str, uuid: str, knobs: Knobs) -> Setter:
    """Return the setter that may set the GPU, whose lock the caller holds.

    Raises:
        NotPermitted: There is none; the message names, on one line, what would grant it and the override that drops the
            axis.
    """
    try:
        return choose(name, uuid)
    except NotPermitted as error:
        raise NotPermitted(permission_advice(uuid, knobs, error)) from error


def permission_advice(uuid: str, knobs: Knobs, error: Exception) -> str:
    """Return what would grant the permission, on one line."""
    settings = " and ".join(knobs.named) or "a limit or clock"
    override = f"; or leave it out: {knobs.overrides}" if knobs.named else ""
    smi = shutil.which("nvidia-smi") or "/usr/bin/nvidia-smi"
    return (
        f"{settings} may not be set on GPU {uuid} by this process; one of these grants it: root or CAP_SYS_ADMIN (a "
        f"container: --cap-add SYS_ADMIN); the sudoers line `{_user()} ALL=(root) NOPASSWD: {smi}`; zeusd with "
        f"gpu-control and ZEUSD_SOCK_PATH{override} (tried: {' '.join(str(error).split())})"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "USER"


def check_range(gpus: Iterable[Gpu], knobs: Knobs) -> None:
    """Raise unless every GPU has the requested settings in its range.

    Raises:
        ControlRefused: A value is out of range; the message has the range.
        NotSupported: A GPU has no such setting.
    """
    for gpu in gpus:
        if knobs.power_limit_w is not None:
            _check_value(
                gpu,
                "hardware.power_limit_w",
                knobs.power_limit_w,
                read_range=driver.limit_range_w,
                setting="power limit that can be set",
                unit="W",
            )
        if knobs.sm_clock_mhz is not None:
            _check_value(
                gpu,
                "hardware.sm_clock_mhz",
                knobs.sm_clock_mhz,
                read_range=driver.sm_clock_range_mhz,
                setting="SM clock that can be locked",
                unit="MHz",
            )


def _check_value(
    gpu: Gpu, key: str, value: float, *, read_range: Callable[[str], tuple[float, float]], setting: str, unit: str
) -> None:
    name = f"GPU {gpu.index} ({gpu.name}, {gpu.uuid})"
    try:
        lowest, highest = read_range(gpu.uuid)
    except NotSupported as error:
        raise NotSupported(f"{name} has no {setting}; {key}=null leaves it out") from error
    if not lowest <= value <= highest:
        raise ControlRefused(
            f"{key}={value:g} is out of range on {name}: allowed are {lowest:g} to {highest:g} {unit}; "
            f"{key}=null leaves it as it is"
        )
