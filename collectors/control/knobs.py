"""What may be set on a GPU, and what became of it."""

from dataclasses import dataclass

WATT_MW = 1000


@dataclass(frozen=True, slots=True)
class Knobs:
    """What is wanted of every GPU; None is what stood there before us."""

    power_limit_w: float | None = None
    sm_clock_mhz: int | None = None

    @property
    def power_limit_mw(self) -> int | None:
        """The limit in the driver's unit."""
        return None if self.power_limit_w is None else round(self.power_limit_w * WATT_MW)

    @property
    def named(self) -> tuple[str, ...]:
        """The keys of the configuration that are set."""
        values = {"hardware.power_limit_w": self.power_limit_w, "hardware.sm_clock_mhz": self.sm_clock_mhz}
        return tuple(key for key, value in values.items() if value is not None)


@dataclass(frozen=True, slots=True)
class AppliedGpu:
    """One GPU as it was read back.

    NVML tells no clock lock: `sm_clock_mhz` is the clock the GPU ran at once it had settled, which an idle GPU or one
    at its power limit keeps below the lock.
    """

    uuid: str
    power_limit_w: float | None
    """The limit the driver enforces; None where the GPU has none."""
    sm_clock_mhz: int | None
    """None where the GPU tells no clock."""
    settled_s: float
    """From the first set until both had settled."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What `Control.apply` has done."""

    gpus: tuple[AppliedGpu, ...]
    setter: str | None
    """By which way; None where nothing had to be set."""
