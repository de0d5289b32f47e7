"""The settings of a GPU, and the result of applying them."""

from dataclasses import dataclass

WATT_MW = 1000


@dataclass(frozen=True, slots=True)
class Knobs:
    """Requested settings of every GPU; None keeps the setting that was there before."""

    power_limit_w: float | None = None
    sm_clock_mhz: int | None = None

    @property
    def power_limit_mw(self) -> int | None:
        """The limit in NVML's unit."""
        return None if self.power_limit_w is None else round(self.power_limit_w * WATT_MW)

    @property
    def named(self) -> tuple[str, ...]:
        """Keys of the configuration that request a setting."""
        values = {"hardware.power_limit_w": self.power_limit_w, "hardware.sm_clock_mhz": self.sm_clock_mhz}
        return tuple(key for key, value in values.items() if value is not None)

    @property
    def overrides(self) -> str:
        """Overrides of the command line that request no setting."""
        return " ".join(f"{key}=null" for key in self.named)


@dataclass(frozen=True, slots=True)
class AppliedGpu:
    """The settings of one GPU as read back."""

    uuid: str
    power_limit_w: float | None
    """The enforced limit; None if the GPU has none."""
    sm_clock_mhz: int | None
    """The clock at which the GPU ran once it had settled. NVML does not report a lock, and an idle GPU or one at its
    power limit runs slower than its lock. None if the GPU reports no clock."""
    settled_s: float
    """Time from the first setting until limit and clock had settled."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of `Control.apply`."""

    gpus: tuple[AppliedGpu, ...]
    setter: str | None
    """Name of the setter; None if nothing had to be set."""
