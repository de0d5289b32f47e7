"""Fake GPUs: a built `libnvidia-ml.so.1` over a state file, and handles to read and change them."""

import ctypes
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from collectors.control.journal import STATE_DIR_VARIABLE
from tests.fake_nvml import layout
from tests.fake_nvml.fake_gpu import FakeGpu
from tests.fake_nvml.gpu_models import (
    A100,
    A100_SENSOR,
    BASELINE_BYTES,
    GIB,
    H100,
    H100_SENSOR,
    H200,
    IDEAL,
    RESERVED_BYTES,
    SENSED_A100,
    SENSED_H100,
    SENSED_H200,
    V100,
    V100_SENSOR,
    GpuModel,
    Sensor,
)
from tests.fake_nvml.library import CONTROL, SOURCE, STATE, Library
from tests.fake_nvml.terms import Nvml, Reason, SetCall, SetKind, Shape

if TYPE_CHECKING:
    import pytest

__all__ = [
    "A100",
    "A100_SENSOR",
    "BASELINE_BYTES",
    "GIB",
    "H100",
    "H100_SENSOR",
    "H200",
    "IDEAL",
    "RESERVED_BYTES",
    "SENSED_A100",
    "SENSED_H100",
    "SENSED_H200",
    "SOURCE",
    "V100",
    "V100_SENSOR",
    "FakeGpu",
    "FakeGpus",
    "GpuModel",
    "Library",
    "Nvml",
    "Reason",
    "Sensor",
    "SetCall",
    "SetKind",
    "Shape",
]


SENSOR_PHASE_NS = 37_000_000
"""Delay of the sensor updates of each GPU after the GPU before it: on real machines they are not synchronous."""


class FakeGpus(Sequence[FakeGpu]):
    """The GPUs of a machine. Processes started with `env` see them; the mapping lives as long as this process."""

    def __init__(self, library: Library, state_path: Path) -> None:
        self._library = library
        self.state_path = state_path
        self._state = library.control.fake_nvml_attach(str(state_path).encode())
        assert self._state, f"{state_path} is no state of the fake library"
        self._gpus = tuple(FakeGpu(library, self._state, i) for i in range(self._state.contents.n_gpus))

    @classmethod
    def create(cls, directory: Path, gpus: Sequence[GpuModel], library: Library, *, privileged: bool = True) -> Self:
        """Make a machine with these GPUs, idle; `privileged` is whether processes may set limits and clocks."""
        path = directory / "fake_nvml_state"
        path.unlink(missing_ok=True)
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

    @classmethod
    def of_environment(cls) -> Self:
        """Return the GPUs of a process that was started with `variables`."""
        return cls(Library.of_environment(), Path(os.environ[STATE]))

    @property
    def env(self) -> dict[str, str]:
        """The environment of a child that has only these GPUs."""
        return {**os.environ, **self.variables}

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with which a process sees these GPUs and keeps its journals beside their state."""
        before = os.environ.get("LD_LIBRARY_PATH")
        folder = str(self._library.nvml.parent)
        return {
            "LD_LIBRARY_PATH": f"{folder}:{before}" if before else folder,
            STATE: str(self.state_path),
            CONTROL: str(self._library.control_path),
            STATE_DIR_VARIABLE: os.environ.get(STATE_DIR_VARIABLE) or str(self.state_path.with_name("state")),
        }

    def load(self, patch: "pytest.MonkeyPatch") -> None:
        """Let `pynvml` in this process and its children see these GPUs until the patch is undone."""
        import pynvml

        for name, value in self.variables.items():
            patch.setenv(name, value)
        patch.setattr(pynvml, "nvmlLib", self._library.control)
        patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    def set_privileged(self, privileged: bool) -> None:
        self._state.contents.privileged = privileged

    def fail_init(self, code: Nvml | None) -> None:
        """Make nvmlInit fail; None ends it."""
        self._state.contents.init_error = code or 0

    def reload_driver(self) -> None:
        """Restart counters from 0; a process must close the library as often as it opened it to use it again."""
        for gpu in self._gpus:
            gpu.restart_counter()
        self._state.contents.n_loads += 1

    @property
    def set_calls(self) -> tuple[SetCall, ...]:
        """Every attempt to set something so far, oldest first, refused ones too (the last 4096)."""
        state = self._state.contents
        first = max(0, state.n_events - layout.N_EVENTS)
        events = [state.events[i % layout.N_EVENTS] for i in range(first, state.n_events)]
        return tuple(SetCall(e.at_ns, e.pid, e.gpu, SetKind(e.kind), (e.first, e.second), e.result) for e in events)

    def by_uuid(self, gpu_uuid: str) -> FakeGpu:
        return next(gpu for gpu in self._gpus if gpu.uuid == gpu_uuid)

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
    gpu.power_reading_mw, gpu.power_gain = -1, 1.0
    _equip(gpu, model.sensor)
    gpu.sensor_phase_ns = index * SENSOR_PHASE_NS
    gpu.mig_enabled = bool(model.mig_memory_bytes)
    for slot, n_bytes in enumerate(model.mig_memory_bytes):
        mig = gpu.migs[slot]
        mig.uuid = _uuid("MIG", machine, index, slot)
        mig.memory_total, mig.gpu_instance = n_bytes, slot + 7


def _uuid(prefix: str, machine: Path, *place: int) -> bytes:
    return f"{prefix}-{uuid.uuid5(uuid.NAMESPACE_URL, f'{machine} {place}')}".encode()


def _equip(gpu: layout.Gpu, sensor: Sensor) -> None:
    gpu.has_power_fields = sensor.has_power_fields
    for name in ("update_period", "instant_window", "plain_window", "average_window", "counter_period"):
        setattr(gpu, f"{name}_ns", round(getattr(sensor, f"{name}_ms") * 1e6))
