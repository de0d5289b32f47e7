"""Whether GPUs may be set, found out before an engine starts."""

from collections.abc import Sequence
from pathlib import Path

from collectors.control import driver
from collectors.control.knobs import Knobs
from collectors.control.lock import GpuLock
from collectors.control.permission import permitted
from collectors.control.range_check import refuse_out_of_range
from collectors.control.setter import AUTO
from collectors.control.state_dir import prepared
from collectors.errors import CollectorError, ControlRefused
from collectors.gpus import Nvml

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
