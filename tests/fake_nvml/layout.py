"""The structures of fake_nvml.c, field for field."""

import ctypes
from ctypes import c_char, c_double, c_int32, c_int64, c_uint32, c_uint64
from enum import IntEnum

MAX_GPUS = 16
MAX_PROCESSES = 32
MAX_MIG = 7
N_SEGMENTS = 1 << 17
KEPT = N_SEGMENTS - 4096
N_EVENTS = 4096
MAGIC = 0x4A4F554D


class CallClass(IntEnum):
    """Class of calls that an injected error or delay affects; DEVICE is all calls on the GPU and for its handle."""

    DEVICE = 0
    IDENTITY = 1
    MEMORY = 2
    PROCESSES = 3
    POWER = 4
    ENERGY = 5
    LIMIT_READ = 6
    LIMIT_SET = 7
    CLOCK_READ = 8
    CLOCK_SET = 9
    REASONS = 10
    TEMPERATURE = 11
    UTILIZATION = 12
    MIG = 13
    MODE = 14


class Segment(ctypes.Structure):
    _fields_ = [
        *[(name, c_int64) for name in ("at_ns", "origin_ns", "period_ns", "until_ns")],
        *[(name, c_double) for name in ("energy_j", "power_w", "amplitude_w", "rest_w", "celsius")],
        ("reasons", c_uint64),
        *[(name, c_int32) for name in ("shape", "cap_acts")],
        *[(name, c_uint32) for name in ("limit_mw", "sm_mhz", "utilization", "unused")],
    ]


class Span(ctypes.Structure):
    _fields_ = [("from_ns", c_int64), ("until_ns", c_int64)]


class Fault(ctypes.Structure):
    _fields_ = [("code", c_int32), ("left", c_int32), ("delay_us", c_uint32), ("calls", c_uint32), ("when", Span)]


class Process(ctypes.Structure):
    _fields_ = [("pid", c_uint32), ("lives_with_pid", c_uint32), ("bytes", c_uint64)]


class Mig(ctypes.Structure):
    _fields_ = [
        ("uuid", c_char * 96),
        ("memory_total", c_uint64),
        ("memory_used", c_uint64),
        ("gpu_instance", c_uint32),
        ("compute_instance", c_uint32),
    ]


class Gpu(ctypes.Structure):
    _fields_ = [
        ("name", c_char * 96),
        ("uuid", c_char * 96),
        ("serial", c_char * 32),
        *[(name, c_uint32) for name in ("architecture", "capability_major", "capability_minor", "pci_device_id")],
        *[(name, c_uint64) for name in ("memory_total", "memory_baseline", "memory_reserved")],
        *[(name, c_uint32) for name in ("limit_min_mw", "limit_max_mw", "limit_default_mw")],
        *[(name, c_uint32) for name in ("sm_max_mhz", "sm_min_mhz", "sm_step_mhz", "memory_max_mhz", "sm_mhz")],
        *[(name, c_uint64) for name in ("sm_lock", "memory_lock", "event_reasons")],
        *[(name, c_int32) for name in ("temperature_c", "memory_temperature_c")],
        *[(name, c_int32) for name in ("utilization_gpu", "utilization_memory", "pstate")],
        *[(name, c_int32) for name in ("persistence", "mig_enabled", "ecc", "has_power_fields", "unused")],
        *[(name, c_double) for name in ("ambient_c", "celsius_per_w", "thermal_tau_s", "power_gain")],
        ("sensor_phase_ns", c_int64),
        *[(name, c_int64) for name in ("update_period_ns", "instant_window_ns", "plain_window_ns")],
        *[(name, c_int64) for name in ("average_window_ns", "counter_period_ns")],
        ("counter_from_j", c_double),
        ("counter_stuck", Span),
        *[(name, c_uint64) for name in ("counter_start_mj", "counter_wrap_mj")],
        ("power_reading_mw", c_int64),
        ("power_reading_when", Span),
        ("faults", Fault * len(CallClass)),
        ("processes", Process * MAX_PROCESSES),
        ("migs", Mig * MAX_MIG),
        ("n_segments", c_uint64),
        ("segments", Segment * N_SEGMENTS),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        ("at_ns", c_int64),
        *[(name, c_uint32) for name in ("pid", "gpu", "kind", "first", "second")],
        ("result", c_int32),
    ]


class State(ctypes.Structure):
    _fields_ = [
        ("magic", c_uint32),
        ("n_gpus", c_uint32),
        *[(name, c_int32) for name in ("privileged", "init_error", "cuda_version")],
        ("n_loads", c_uint32),
        ("path", c_char * 512),
        ("driver_version", c_char * 80),
        ("nvml_version", c_char * 80),
        ("n_events", c_uint64),
        ("events", Event * N_EVENTS),
        ("gpus", Gpu * MAX_GPUS),
    ]
