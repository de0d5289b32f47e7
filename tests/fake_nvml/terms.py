"""Names of the fake driver's return codes, wave shapes, clock-event reasons and settings."""

from dataclasses import dataclass
from enum import Enum, IntEnum


class Nvml(IntEnum):
    """Return codes that tests inject."""

    INVALID_ARGUMENT = 2
    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    NOT_FOUND = 6
    DRIVER_NOT_LOADED = 9
    TIMEOUT = 10
    FUNCTION_NOT_FOUND = 13
    GPU_IS_LOST = 15
    UNKNOWN = 999


class Shape(IntEnum):
    """Shape of the power around its mean."""

    CONSTANT = 0
    SQUARE = 1
    SINE = 2


class Reason(IntEnum):
    """Bits of the clock-event reasons."""

    GPU_IDLE = 0x1
    SW_POWER_CAP = 0x4
    HW_SLOWDOWN = 0x8
    SW_THERMAL_SLOWDOWN = 0x20
    HW_THERMAL_SLOWDOWN = 0x40
    HW_POWER_BRAKE = 0x80


class SetKind(Enum):
    """Kind of setting of a GPU."""

    LIMIT = 1
    LOCK_SM = 2
    UNLOCK_SM = 3
    LOCK_MEMORY = 4
    UNLOCK_MEMORY = 5
    PERSISTENCE = 6
    MIG = 7
    OTHER = 8
    """Compute mode, application clocks, ECC and all others."""


@dataclass(frozen=True, slots=True)
class SetCall:
    """One attempt of a process to set something; power is in mW and clocks in MHz, as in NVML."""

    at_ns: int
    pid: int
    gpu: int
    kind: SetKind
    values: tuple[int, int]
    result: int
