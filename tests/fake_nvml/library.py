"""The fake `libnvidia-ml.so.1`: built once per test session; child processes open it by its environment."""

import ctypes
import os
import subprocess
from ctypes import POINTER, c_char_p, c_double, c_int, c_longlong, c_uint, c_ulong, c_ulonglong
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.fake_nvml import layout

SOURCE = Path(__file__).with_name("fake_nvml.c")
CONTROL = "FAKE_NVML_CONTROL"
STATE = "FAKE_NVML_STATE"


@dataclass(frozen=True, slots=True)
class Library:
    """The two builds of one source: one for child processes, one for the test itself.

    The test's has another soname: after a library named libnvidia-ml.so.1 is loaded, glibc answers every later
    `dlopen("libnvidia-ml.so.1")` with it.
    """

    nvml: Path
    control_path: Path
    control: ctypes.CDLL

    @classmethod
    def build(cls, directory: Path) -> Self:
        """Compile the library.

        Raises:
            subprocess.CalledProcessError: The compiler failed.
        """
        nvml = directory / "libnvidia-ml.so.1"
        control = directory / "fake_nvml_control.so"
        for path in (nvml, control):
            command = ["cc", "-std=gnu11", "-O2", "-shared", "-fPIC"]
            subprocess.run([*command, f"-Wl,-soname,{path.name}", "-o", path, SOURCE, "-lm"], check=True)
        return cls.opened(nvml, control)

    @classmethod
    def opened(cls, nvml: Path, control: Path) -> Self:
        return cls(nvml, control, _declared(ctypes.CDLL(str(control))))

    @classmethod
    def of_environment(cls) -> Self:
        """Return the library that the variables of `FakeGpus.variables` name."""
        control = Path(os.environ[CONTROL])
        return cls.opened(control.with_name("libnvidia-ml.so.1"), control)


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    state = POINTER(layout.State)
    wave = [c_longlong, c_double, c_double, c_longlong, c_int]
    signatures = {
        "state_bytes": (c_ulong, []),
        "attach": (state, [c_char_p]),
        "start": (c_int, [state, c_uint, c_double, c_uint]),
        "drive": (c_int, [state, c_uint, *wave]),
        "work": (
            c_int,
            [state, c_uint, c_longlong, c_longlong, c_double, c_double, c_uint, c_uint, c_ulonglong],
        ),
        "warm": (c_int, [state, c_uint, c_double, c_double, c_double, c_double]),
        "limit": (c_int, [state, c_uint, c_uint, c_int]),
        "hold": (c_int, [state, c_uint, c_uint, c_ulonglong, c_uint]),
        "energy_j": (c_double, [state, c_uint, c_longlong]),
        "power_w": (c_double, [state, c_uint, c_longlong]),
        "celsius": (c_double, [state, c_uint, c_longlong]),
        "limit_mw": (c_uint, [state, c_uint]),
        "acting_limit_mw": (c_uint, [state, c_uint]),
        "used_bytes": (c_ulonglong, [state, c_uint]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"fake_nvml_{name}")
        function.restype, function.argtypes = result, arguments
    assert library.fake_nvml_state_bytes() == ctypes.sizeof(layout.State), "layout.py differs from fake_nvml.c"
    return library
