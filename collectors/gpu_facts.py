"""What a GPU is and stood at: what a measurement on it depends on, for those who read its record later."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pynvml

from collectors.errors import CollectorError
from collectors.gpus import Gpu, Nvml, asking, instances_on
from collectors.nvml_columns import Columns, columns_of

_MILLI = 1000
_WHOLE_RATIO = 0.9
"""Of a GPU's memory: the one instance that is all of it has 97 % and more, the next smaller one about a half."""


def gpu_facts(ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Facts of GPUs by their UUIDs; what a GPU or its driver does not tell is None.

    Limits are in W: ``default``, ``enforced`` (the least of all that act), and the range it may be set to.
    ``mig_shared`` is whether instances that are not among ``ids`` are, or where they cannot be seen may be, on the GPU
    whose power and energy are told; None without MIG. ``power_sensor`` and ``energy_sensor`` say where `power_w` and
    `energy_j` come from.

    Args:
        ids: UUIDs of GPUs or MIG instances; of these the whole GPU is told.

    Raises:
        CollectorError: a GPU does not answer.
    """
    with Nvml() as nvml:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        gpus = nvml.resolve(ids)
        return {gpu.uuid: {"driver": driver, **_facts(gpu, gpus)} for gpu in gpus}


def _facts(gpu: Gpu, all_asked: Collection[Gpu]) -> dict[str, Any]:
    with asking(f"GPU {gpu.uuid}"):
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        columns = columns_of(handle)
    limits_w = _told(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle)
    mig = _flag(_first(_told(pynvml.nvmlDeviceGetMigMode, handle)))
    own = {each.mig_uuid: each for each in all_asked if each.uuid == gpu.uuid and each.mig}
    return {
        "name": gpu.name,
        "mig_uuid": gpu.mig_uuid,
        "mig": mig,
        "mig_shared": _shared(gpu, tuple(own.values()), handle) if mig else None,
        "persistence": _flag(_told(pynvml.nvmlDeviceGetPersistenceMode, handle)),
        "default_power_limit_w": _watts(_told(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)),
        "enforced_power_limit_w": _watts(_told(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        "min_power_limit_w": _watts(_first(limits_w)),
        "max_power_limit_w": None if limits_w is None else _watts(limits_w[1]),
        "power_sensor": _sensor("power_w", "NVML_FI_DEV_POWER_INSTANT", "nvmlDeviceGetPowerUsage", columns),
        "energy_sensor": _sensor(
            "energy_j", "NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "nvmlDeviceGetTotalEnergyConsumption", columns
        ),
    }


def _shared(gpu: Gpu, own: Collection[Gpu], handle: Any) -> bool:
    """In a container others' instances do not show, but those that are ours are less than the GPU."""
    try:
        there = instances_on(gpu)
    except CollectorError:
        there = []
    own = own or there[:1]  # CUDA takes the first where the whole GPU is asked for
    memory = _told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    own_bytes = sum(each.memory_total_bytes for each in own)
    return len(there) > len(own) or memory is None or own_bytes < _WHOLE_RATIO * memory.total


def _sensor(column: str, field: str, call: str, columns: Columns) -> str | None:
    if column in columns.fields:
        return field
    return call if column in columns.calls else None


def _told(ask: Callable[[Any], Any], handle: Any) -> Any:
    """None where the GPU does not tell."""
    try:
        return ask(handle)
    except pynvml.NVMLError:  # whatever is wrong with it: a fact of a record is not worth a measurement
        return None


def _first(pair: Any) -> Any:
    return None if pair is None else pair[0]


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / _MILLI


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)
