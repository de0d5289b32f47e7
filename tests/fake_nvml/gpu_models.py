"""Models of fake GPUs and of their sensors."""

from dataclasses import dataclass, replace

GIB = 2**30

BASELINE_BYTES = 4 * 2**20
RESERVED_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Sensor:
    """Update periods and averaging windows of the readings; 0 is continuous and instantaneous.

    `plain` is nvmlDeviceGetPowerUsage, `instant` and `average` are the field values 186 and 185, which GPUs before
    Ampere do not have.
    """

    update_period_ms: float = 0.0
    instant_window_ms: float = 0.0
    plain_window_ms: float = 1000.0
    average_window_ms: float = 1000.0
    counter_period_ms: float = 0.0
    has_power_fields: bool = True


IDEAL = Sensor()
V100_SENSOR = Sensor(update_period_ms=20, plain_window_ms=10, counter_period_ms=20, has_power_fields=False)
A100_SENSOR = Sensor(update_period_ms=100, instant_window_ms=25, plain_window_ms=25, counter_period_ms=100)
"""arXiv 2312.02741; on GA100 the plain call is instantaneous."""
H100_SENSOR = Sensor(update_period_ms=100, instant_window_ms=25, counter_period_ms=100)


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A model of GPU; the limits are those of `nvidia-smi -q -d POWER`."""

    name: str
    memory_bytes: int
    min_limit_w: int
    max_limit_w: int
    idle_power_w: float
    max_sm_clock_mhz: int
    max_memory_clock_mhz: int
    architecture: int
    compute_capability: tuple[int, int]
    default_limit_w: int | None = None
    sensor: Sensor = IDEAL
    mig_memory_bytes: tuple[int, ...] = ()
    """If not empty, MIG is on with an instance of each size."""


V100 = GpuModel("Tesla V100-SXM2-32GB", 32 * GIB, 150, 300, 40.0, 1530, 877, 5, (7, 0), sensor=V100_SENSOR)
A100 = GpuModel("NVIDIA A100-SXM4-80GB", 80 * GIB, 100, 400, 55.0, 1410, 1593, 7, (8, 0))
H100 = GpuModel("NVIDIA H100 80GB HBM3", 80 * GIB, 200, 700, 70.0, 1980, 2619, 9, (9, 0))
H200 = GpuModel("NVIDIA H200", 141 * GIB, 200, 700, 77.0, 1980, 3201, 9, (9, 0))
"""These three have ideal sensors and the idle power of the product's presets."""

SENSED_A100 = replace(A100, sensor=A100_SENSOR)
SENSED_H100 = replace(H100, sensor=H100_SENSOR)
SENSED_H200 = replace(H200, sensor=H100_SENSOR)
"""With the sensors that these GPUs have."""
