"""Whether GPUs can be set as asked, before anything is set."""

from collections.abc import Iterable

from collectors.control import driver
from collectors.control.knobs import Knobs
from collectors.errors import ControlRefused, NotSupported
from collectors.gpus import Gpu


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
