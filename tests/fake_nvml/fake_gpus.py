"""GPUs that are not there: a built `libnvidia-ml.so.1` over a state file, and a handle to watch and change them."""

import ctypes
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from ctypes import POINTER, c_char_p, c_double, c_int, c_longlong, c_uint, c_ulong, c_ulonglong
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Self

import pynvml
import pytest

from tests.fake_nvml import layout
from tests.fake_nvml.layout import CallClass

SOURCE = Path(__file__).with_name("fake_nvml.c")
GIB = 2**30


class Nvml(IntEnum):
    """The return codes that are worth injecting."""

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
    """How power moves around its mean."""

    CONSTANT = 0
    SQUARE = 1
    SINE = 2


class SetKind(Enum):
    """What a process asked of a GPU."""

    LIMIT = 1
    LOCK_SM = 2
    UNLOCK_SM = 3
    LOCK_MEMORY = 4
    UNLOCK_MEMORY = 5
    PERSISTENCE = 6


@dataclass(frozen=True, slots=True)
class Sensor:
    """When a reading is renewed and over what it is averaged; 0 is at once and at an instant.

    `plain` is nvmlDeviceGetPowerUsage, `instant` and `average` are the field values 186 and 185.
    """

    update_period_ms: float = 0.0
    instant_window_ms: float = 0.0
    plain_window_ms: float = 1000.0
    average_window_ms: float = 1000.0
    counter_period_ms: float = 0.0


IDEAL = Sensor()
A100_SENSOR = Sensor(update_period_ms=100, instant_window_ms=25, plain_window_ms=25, counter_period_ms=100)
"""arXiv 2312.02741; on GA100 the plain call is instantaneous."""
H100_SENSOR = Sensor(update_period_ms=100, instant_window_ms=25, counter_period_ms=100)


@dataclass(frozen=True, slots=True)
class GpuModel:
    """What a fake GPU is; the limits are those of `nvidia-smi -q -d POWER`."""

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
    """Not empty: MIG is on, with an instance of each size."""


A100 = GpuModel("NVIDIA A100-SXM4-80GB", 80 * GIB, 100, 400, 60.0, 1410, 1593, 7, (8, 0))
H100 = GpuModel("NVIDIA H100 80GB HBM3", 80 * GIB, 200, 700, 70.0, 1980, 2619, 9, (9, 0))
H200 = GpuModel("NVIDIA H200", 141 * GIB, 200, 700, 75.0, 1980, 3201, 9, (9, 0))

BASELINE_BYTES = 4 * 2**20
RESERVED_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class SetCall:
    """One attempt of a process to set something; watts are in mW and clocks in MHz, as NVML has them."""

    at_ns: int
    pid: int
    gpu: int
    kind: SetKind
    values: tuple[int, int]
    result: int


@dataclass(frozen=True, slots=True)
class Library:
    """The two builds of one source: what children load, and what the test itself loads.

    The test's has another soname: once a library named libnvidia-ml.so.1 is in a process, glibc answers every later
    `dlopen("libnvidia-ml.so.1")` with it.
    """

    nvml: Path
    control: ctypes.CDLL

    @classmethod
    def build(cls, directory: Path) -> Self:
        """Compiles the library.

        Raises:
            subprocess.CalledProcessError: The compiler refused it.
        """
        nvml = directory / "libnvidia-ml.so.1"
        control = directory / "fake_nvml_control.so"
        for path in (nvml, control):
            command = ["cc", "-std=gnu11", "-O2", "-shared", "-fPIC"]
            subprocess.run([*command, f"-Wl,-soname,{path.name}", "-o", path, SOURCE, "-lm"], check=True)
        return cls(nvml, _declared(ctypes.CDLL(str(control))))


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    state = POINTER(layout.State)
    signatures = {
        "state_bytes": (c_ulong, []),
        "attach": (state, [c_char_p]),
        "start": (c_int, [state, c_uint, c_double, c_uint]),
        "drive": (c_int, [state, c_uint, c_longlong, c_double, c_double, c_longlong, c_int]),
        "limit": (c_int, [state, c_uint, c_uint, c_int]),
        "hold": (c_int, [state, c_uint, c_uint, c_ulonglong, c_uint]),
        "energy_j": (c_double, [state, c_uint, c_longlong]),
        "power_w": (c_double, [state, c_uint, c_longlong]),
        "limit_mw": (c_uint, [state, c_uint]),
        "used_bytes": (c_ulonglong, [state, c_uint]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"fake_nvml_{name}")
        function.restype, function.argtypes = result, arguments
    assert library.fake_nvml_state_bytes() == ctypes.sizeof(layout.State), "layout.py differs from fake_nvml.c"
    return library


class FakeGpu:
    """One GPU, seen from outside the driver: the truth, whatever the sensors or injected errors say."""

    def __init__(self, library: Library, state: "ctypes._Pointer[layout.State]", index: int) -> None:
        self._control = library.control
        self._state = state
        self._gpu = state.contents.gpus[index]
        self.index = index

    @property
    def uuid(self) -> str:
        return self._gpu.uuid.decode()

    @property
    def mig_uuids(self) -> tuple[str, ...]:
        return tuple(mig.uuid.decode() for mig in self._gpu.migs if mig.uuid)

    @property
    def memory_used_bytes(self) -> int:
        """What the second version of the memory call says: the baseline and what processes hold."""
        return self._control.fake_nvml_used_bytes(self._state, self.index)

    def set_baseline(self, n_bytes: int) -> None:
        """What is in use though no process holds it."""
        self._gpu.memory_baseline = n_bytes

    def hold_memory(self, pid: int, n_bytes: int, *, lives_with_pid: bool = False) -> None:
        """A process holds so much and no more; with `lives_with_pid`, until that process ends."""
        assert self._control.fake_nvml_hold(self._state, self.index, pid, n_bytes, lives_with_pid) == 0

    def release_memory(self, pid: int) -> None:
        assert self._control.fake_nvml_hold(self._state, self.index, pid, 0, 0) == 0, f"pid {pid} holds nothing"

    def set_power(
        self, power_w: float, *, amplitude_w: float = 0.0, period_s: float = 0.0, shape: Shape | None = None, at_ns=0
    ) -> None:
        """Drives the GPU from now, or from a CLOCK_MONOTONIC instant not before the last change.

        The power is the mean of a wave where an amplitude is given (a sine unless `shape` says otherwise), and what
        comes out is clipped at the limit.
        """
        shape = shape if shape is not None else Shape.SINE if amplitude_w else Shape.CONSTANT
        period_ns = round(period_s * 1e9)
        arguments = (self.index, at_ns, power_w, amplitude_w, period_ns, shape)
        assert self._control.fake_nvml_drive(self._state, *arguments) == 0, arguments

    def power_w(self, at_ns: int = 0) -> float:
        return self._control.fake_nvml_power_w(self._state, self.index, at_ns)

    def energy_j(self, at_ns: int = 0) -> float:
        """Since the GPU was made, at an instant of CLOCK_MONOTONIC or now."""
        return self._control.fake_nvml_energy_j(self._state, self.index, at_ns)

    @property
    def power_limit_w(self) -> float:
        return self._control.fake_nvml_limit_mw(self._state, self.index) / 1000

    def set_power_limit(self, limit_w: float, *, acts: bool = True) -> None:
        """As the driver or an operator would, without permission or range checks; `acts=False` is a dead cap."""
        assert self._control.fake_nvml_limit(self._state, self.index, round(limit_w * 1000), acts) == 0

    @property
    def locked_sm_clock_mhz(self) -> tuple[int, int] | None:
        """Least and most; None where it is not locked."""
        lock = self._gpu.sm_lock
        return (lock >> 32, lock & 0xFFFFFFFF) if lock else None

    @property
    def locked_memory_clock_mhz(self) -> tuple[int, int] | None:
        lock = self._gpu.memory_lock
        return (lock >> 32, lock & 0xFFFFFFFF) if lock else None

    @property
    def persistence(self) -> bool:
        return bool(self._gpu.persistence)

    def set_clock(self, sm_clock_mhz: int) -> None:
        """What it would run at with no lock and no cap."""
        self._gpu.sm_mhz = sm_clock_mhz

    def set_temperature(self, celsius: int) -> None:
        self._gpu.temperature_c = celsius

    def set_utilization(self, gpu_percent: int, memory_percent: int = 0) -> None:
        self._gpu.utilization_gpu, self._gpu.utilization_memory = gpu_percent, memory_percent

    def set_event_reasons(self, bits: int) -> None:
        """Beside the software power cap's, which is set while the cap binds."""
        self._gpu.event_reasons = bits

    def set_power_reading(self, power_w: float | None) -> None:
        """A sensor that says this whatever the power is; None mends it. The counter is not touched."""
        self._gpu.power_reading_mw = -1 if power_w is None else round(power_w * 1000)

    def stick_counter(self) -> None:
        self._gpu.counter_stuck_at_ns = time.monotonic_ns()

    def free_counter(self) -> None:
        self._gpu.counter_stuck_at_ns = 0

    def set_counter(self, start_mj: int, *, wrap_mj: int = 0) -> None:
        """What the counter stood at when the GPU was made, and where it starts again at 0."""
        self._gpu.counter_start_mj, self._gpu.counter_wrap_mj = start_mj, wrap_mj

    def fail(self, calls: CallClass, code: Nvml, *, times: int | None = None) -> None:
        """Makes a class of calls fail, the next `times` of them or until it is mended."""
        fault = self._gpu.faults[calls]
        fault.left = -1 if times is None else times
        fault.code = code

    def mend(self, calls: CallClass) -> None:
        self._gpu.faults[calls].code = 0
        self._gpu.faults[calls].delay_us = 0

    def delay(self, calls: CallClass, delay_ms: float) -> None:
        """Makes a class of calls slow."""
        self._gpu.faults[calls].delay_us = round(delay_ms * 1000)

    def n_calls(self, calls: CallClass) -> int:
        """How many calls of a class all processes have made."""
        return self._gpu.faults[calls].calls


class FakeGpus(Sequence[FakeGpu]):
    """The GPUs of a machine. Processes started with `env` see them; the mapping lives as long as this process."""

    def __init__(self, library: Library, state_path: Path) -> None:
        self._library = library
        self._path = state_path
        self._state = library.control.fake_nvml_attach(str(state_path).encode())
        assert self._state, f"{state_path} is no state of the fake library"
        self._gpus = tuple(FakeGpu(library, self._state, i) for i in range(self._state.contents.n_gpus))

    @classmethod
    def create(cls, directory: Path, gpus: Sequence[GpuModel], library: Library, *, privileged: bool = True) -> Self:
        """Makes a machine with these GPUs, idle; `privileged` is whether processes may set limits and clocks."""
        path = directory / "fake_nvml_state"
        path.touch()
        os.truncate(path, ctypes.sizeof(layout.State))
        state = library.control.fake_nvml_attach(str(path).encode()).contents
        state.n_gpus, state.privileged, state.cuda_version = len(gpus), privileged, 13000
        state.path = str(path).encode()
        state.driver_version, state.nvml_version = b"580.95.05", b"13.580.95.05"
        for index, model in enumerate(gpus):
            _describe(state.gpus[index], model, index, path)
            limit_mw = state.gpus[index].limit_default_mw
            library.control.fake_nvml_start(ctypes.byref(state), index, model.idle_power_w, limit_mw)
        state.magic = layout.MAGIC
        return cls(library, path)

    @property
    def env(self) -> dict[str, str]:
        """The environment of a child that has these GPUs and no other."""
        return {**os.environ, **self.variables}

    @property
    def variables(self) -> dict[str, str]:
        """What makes a process see these GPUs."""
        before = os.environ.get("LD_LIBRARY_PATH")
        folder = str(self._library.nvml.parent)
        return {
            "LD_LIBRARY_PATH": f"{folder}:{before}" if before else folder,
            "FAKE_NVML_STATE": str(self._path),
        }

    def load(self, patch: pytest.MonkeyPatch) -> None:
        """Lets `pynvml` in this very process, and its children, see these GPUs until the patch is undone."""
        for name, value in self.variables.items():
            patch.setenv(name, value)
        patch.setattr(pynvml, "nvmlLib", self._library.control)
        patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    def set_privileged(self, privileged: bool) -> None:
        self._state.contents.privileged = privileged

    def fail_init(self, code: Nvml | None) -> None:
        """Makes nvmlInit fail; None mends it."""
        self._state.contents.init_error = code or 0

    @property
    def set_calls(self) -> tuple[SetCall, ...]:
        """Every attempt to set something so far, oldest first, refused ones too (the last 4096)."""
        state = self._state.contents
        first = max(0, state.n_events - layout.N_EVENTS)
        events = [state.events[i % layout.N_EVENTS] for i in range(first, state.n_events)]
        return tuple(SetCall(e.at_ns, e.pid, e.gpu, SetKind(e.kind), (e.first, e.second), e.result) for e in events)

    def __getitem__(self, index):
        return self._gpus[index]

    def __len__(self) -> int:
        return len(self._gpus)

    def __iter__(self) -> Iterator[FakeGpu]:
        return iter(self._gpus)


def _describe(gpu: layout.Gpu, model: GpuModel, index: int, machine: Path) -> None:
    gpu.name = model.name.encode()
    gpu.uuid = _uuid("GPU", machine, index)
    gpu.serial = f"16540231{index:05d}".encode()
    gpu.architecture = model.architecture
    gpu.capability_major, gpu.capability_minor = model.compute_capability
    gpu.pci_device_id = 0x233510DE
    gpu.memory_total = model.memory_bytes
    gpu.memory_baseline, gpu.memory_reserved = BASELINE_BYTES, RESERVED_BYTES
    gpu.limit_min_mw, gpu.limit_max_mw = model.min_limit_w * 1000, model.max_limit_w * 1000
    gpu.limit_default_mw = (model.default_limit_w or model.max_limit_w) * 1000
    gpu.sm_max_mhz = gpu.sm_mhz = model.max_sm_clock_mhz
    gpu.sm_min_mhz, gpu.sm_step_mhz = 210, 15
    gpu.memory_max_mhz = model.max_memory_clock_mhz
    gpu.temperature_c, gpu.memory_temperature_c = 35, 40
    gpu.ecc = 1
    gpu.power_reading_mw = -1
    _equip(gpu, model.sensor)
    gpu.mig_enabled = bool(model.mig_memory_bytes)
    for slot, n_bytes in enumerate(model.mig_memory_bytes):
        mig = gpu.migs[slot]
        mig.uuid = _uuid("MIG", machine, index, slot)
        mig.memory_total, mig.gpu_instance = n_bytes, slot + 7


def _uuid(prefix: str, machine: Path, *place: int) -> bytes:
    return f"{prefix}-{uuid.uuid5(uuid.NAMESPACE_URL, f'{machine} {place}')}".encode()


def _equip(gpu: layout.Gpu, sensor: Sensor) -> None:
    for name in ("update_period", "instant_window", "plain_window", "average_window", "counter_period"):
        setattr(gpu, f"{name}_ns", round(getattr(sensor, f"{name}_ms") * 1e6))
