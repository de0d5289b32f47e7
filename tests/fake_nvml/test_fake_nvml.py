"""The fake driver, used by the real `pynvml` in child processes."""

import re
import time
from pathlib import Path

import psutil
import pynvml
import pytest

from tests.fake_nvml.children import ask, running
from tests.fake_nvml.fake_gpus import A100, BASELINE_BYTES, GIB, H100, RESERVED_BYTES, SOURCE, Nvml, SetKind
from tests.fake_nvml.layout import CallClass

FOUND_BY_OTHERS_ONLY = {"nvmlInit", "nvmlInit_v2", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"}


def test_its_functions_are_those_that_pynvml_looks_up():
    exported = set(re.findall(r"^(?:int|const char \*)\s?(nvml\w+)\(", SOURCE.read_text(), re.MULTILINE))
    looked_up = set(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', Path(pynvml.__file__).read_text()))
    assert len(exported) > 60
    assert exported - looked_up == FOUND_BY_OTHERS_ONLY


def test_a_child_finds_each_gpu_by_every_name(fake_gpus):
    seen = ask(
        fake_gpus,
        """
say([[nvmlDeviceGetName(g), nvmlDeviceGetUUID(g), nvmlDeviceGetIndex(g), nvmlDeviceGetMinorNumber(g),
      nvmlDeviceGetCudaComputeCapability(g),
      nvmlDeviceGetIndex(nvmlDeviceGetHandleByUUID(nvmlDeviceGetUUID(g))),
      nvmlDeviceGetIndex(nvmlDeviceGetHandleByPciBusId(nvmlDeviceGetPciInfo(g).busId)),
      nvmlDeviceGetIndex(nvmlDeviceGetHandleBySerial(nvmlDeviceGetSerial(g)))] for g in gpus])
""",
    )
    assert seen == [[H100.name, gpu.uuid, i, i, [9, 0], i, i, i] for i, gpu in enumerate(fake_gpus)]
    assert len({gpu.uuid for gpu in fake_gpus}) == 4


def test_errors_are_those_of_the_driver(fake_gpus):
    codes = ask(
        fake_gpus,
        """
say([code(nvmlDeviceGetHandleByIndex, 4), code(nvmlDeviceGetHandleByUUID, "GPU-none"),
     code(nvmlDeviceGetSupportedGraphicsClocks, gpus[0], 17), code(nvmlDeviceGetFanSpeed, gpus[0]),
     nvmlDeviceGetFieldValues(gpus[0], [1])[0].nvmlReturn])
""",
    )
    assert codes == [2, 6, 6, 13, 3]  # invalid argument, not found twice, function not found, not supported


def test_a_limit_is_set_read_back_and_refused_out_of_range(fake_gpus):
    program = """
read = lambda: [nvmlDeviceGetPowerManagementLimit(gpus[1]), nvmlDeviceGetEnforcedPowerLimit(gpus[1])] + [
    each.value.uiVal for each in nvmlDeviceGetFieldValues(gpus[1], [190, 192, 189, 187, 188])]
before = read()
done = [code(nvmlDeviceSetPowerManagementLimit, gpus[1], mw) for mw in (400_000, 199_999, 700_001)]
say([before, done, read(), nvmlDeviceGetPowerManagementLimitConstraints(gpus[1]), os.getpid()])
"""
    before, done, after, constraints, pid = ask(fake_gpus, program)
    assert before == [700_000] * 5 + [200_000, 700_000]
    assert done == [0, 2, 2]
    assert after == [400_000] * 4 + [700_000, 200_000, 700_000]
    assert constraints == [200_000, 700_000]
    assert [gpu.power_limit_w for gpu in fake_gpus] == [700, 400, 700, 700]
    assert [(call.pid, call.gpu, call.kind, call.values[0], call.result) for call in fake_gpus.set_calls] == [
        (pid, 1, SetKind.LIMIT, 400_000, 0),
        (pid, 1, SetKind.LIMIT, 199_999, 2),
        (pid, 1, SetKind.LIMIT, 700_001, 2),
    ]


def test_nothing_is_set_without_permission(fake_gpus):
    fake_gpus.set_privileged(False)
    codes = ask(
        fake_gpus,
        """
say([code(nvmlDeviceSetPowerManagementLimit, gpus[0], 400_000), code(nvmlDeviceSetGpuLockedClocks, gpus[0], 900, 900),
     code(nvmlDeviceResetGpuLockedClocks, gpus[0]), code(nvmlDeviceSetPersistenceMode, gpus[0], 1)])
""",
    )
    assert codes == [Nvml.NO_PERMISSION] * 4
    assert (fake_gpus[0].power_limit_w, fake_gpus[0].locked_sm_clock_mhz) == (700, None)


def test_every_setting_is_recorded_also_refused_ones(fake_gpus):
    codes = ask(
        fake_gpus,
        """
say([code(nvmlDeviceSetMigMode, gpus[0], 1), code(nvmlDeviceSetComputeMode, gpus[0], 3),
     code(nvmlDeviceSetApplicationsClocks, gpus[1], 2619, 1980), code(nvmlDeviceSetPersistenceMode, gpus[1], 1)])
""",
    )
    assert codes == [Nvml.NOT_SUPPORTED] * 3 + [0]
    noted = [(call.gpu, call.kind) for call in fake_gpus.set_calls]
    assert noted == [(0, SetKind.MIG), (0, SetKind.OTHER), (1, SetKind.OTHER), (1, SetKind.PERSISTENCE)]


def test_clocks_are_locked_achieved_and_unlocked(fake_gpus):
    program = """
read = lambda: [nvmlDeviceGetClockInfo(gpus[0], NVML_CLOCK_SM), nvmlDeviceGetClockInfo(gpus[0], NVML_CLOCK_MEM)]
seen = [read()]
nvmlDeviceSetGpuLockedClocks(gpus[0], 990, 1_200); seen.append(read())
nvmlDeviceSetMemoryLockedClocks(gpus[0], 1_593, 1_593); seen.append(read())
supported = nvmlDeviceGetSupportedGraphicsClocks(gpus[0], nvmlDeviceGetSupportedMemoryClocks(gpus[0])[0])
say([seen, code(nvmlDeviceSetGpuLockedClocks, gpus[0], 1_200, 990), supported[:2], supported[-1]])
"""
    assert ask(fake_gpus, program) == [[[1980, 2619], [1200, 2619], [1200, 1593]], 2, [1980, 1965], 210]
    assert fake_gpus[0].locked_sm_clock_mhz == (990, 1200)
    ask(fake_gpus, "say([nvmlDeviceResetGpuLockedClocks(gpus[0]), nvmlDeviceResetMemoryLockedClocks(gpus[0])])")
    assert fake_gpus[0].locked_sm_clock_mhz is fake_gpus[0].locked_memory_clock_mhz is None


def test_energy_over_a_second_is_power_times_time_under_a_limit_that_acts(fake_gpus):
    fake_gpus[0].set_power(500)
    fake_gpus[1].set_power(500)
    fake_gpus[2].set_power(500)
    fake_gpus[2].set_power_limit(300, acts=False)
    program = """
nvmlDeviceSetPowerManagementLimit(gpus[1], 300_000)
def read(g):  # the least interrupted of a few
    tries = [(time.monotonic(), nvmlDeviceGetTotalEnergyConsumption(g) / 1000, time.monotonic()) for _ in range(20)]
    return min(tries, key=lambda each: each[2] - each[0])
first = [read(g) for g in gpus[:3]]
time.sleep(1)
last = [read(g) for g in gpus[:3]]
say([(b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(first, last)])
"""
    assert ask(fake_gpus, program) == pytest.approx([500, 300, 500], rel=0.01)


def test_a_cap_that_binds_is_a_reason_and_slows_the_clock(fake_gpus):
    program = "say([[nvmlDeviceGetCurrentClocksEventReasons(g), nvmlDeviceGetClockInfo(g, 1)] for g in gpus[:2]])"
    fake_gpus[0].set_power(600)
    fake_gpus[0].set_power_limit(300)
    fake_gpus[1].set_power(200)
    fake_gpus[1].set_event_reasons(0x40)
    assert ask(fake_gpus, program) == [[0x4, 1560], [0x40, 1980]]  # 1980 MHz · (300/600)^(1/3), in steps of 15


def test_two_processes_and_the_test_see_one_state(fake_gpus):
    answer = """
say("ready")
for line in sys.stdin:
    say([nvmlDeviceGetPowerManagementLimit(gpus[0]), nvmlDeviceGetMemoryInfo(gpus[0], nvmlMemory_v2).used])
"""
    with running(fake_gpus, answer) as child:
        ask(fake_gpus, "say(nvmlDeviceSetPowerManagementLimit(gpus[0], 250_000))")
        fake_gpus[0].hold_memory(4242, 3 * GIB)
        child.stdin.write("\n")
        assert child.stdout.readline() == f"[250000, {BASELINE_BYTES + 3 * GIB}]\n"


def test_memory_is_freed_when_its_process_is_killed(fake_gpus):
    fake_gpus[2].hold_memory(4242, GIB)
    program = """
ctypes.CDLL("libnvidia-ml.so.1").fake_nvml_hold_memory(2, ctypes.c_ulonglong(5 << 30))
say(1); time.sleep(60)
"""
    look = """
memory = nvmlDeviceGetMemoryInfo(gpus[2])
say([[each.pid, each.usedGpuMemory] for each in nvmlDeviceGetComputeRunningProcesses(gpus[2])] + [memory.used])
"""
    with running(fake_gpus, program) as child:
        assert fake_gpus[2].memory_used_bytes == BASELINE_BYTES + 6 * GIB
        theirs, ours, used = ask(fake_gpus, look)
        assert (theirs, ours) == ([4242, GIB], [child.pid, 5 * GIB])
        assert used == BASELINE_BYTES + RESERVED_BYTES + 6 * GIB  # the first version of the call counts the driver's
        child.kill()
        psutil.Process(child.pid).wait(10)
        assert fake_gpus[2].memory_used_bytes == BASELINE_BYTES + GIB
    fake_gpus[2].release_memory(4242)
    assert fake_gpus[2].memory_used_bytes == BASELINE_BYTES


def test_errors_come_as_often_as_injected(fake_gpus):
    fake_gpus[0].fail(CallClass.ENERGY, Nvml.TIMEOUT, times=2)
    fake_gpus[1].fail(CallClass.POWER, Nvml.NOT_SUPPORTED)
    program = """
say([[code(nvmlDeviceGetTotalEnergyConsumption, gpus[0]) for _ in range(3)], code(nvmlDeviceGetPowerUsage, gpus[1]),
     nvmlDeviceGetFieldValues(gpus[1], [186])[0].nvmlReturn, code(nvmlDeviceGetTotalEnergyConsumption, gpus[1])])
"""
    assert ask(fake_gpus, program) == [[10, 10, 0], 3, 3, 0]
    assert fake_gpus[0].n_calls(CallClass.ENERGY) == 3
    fake_gpus[1].mend(CallClass.POWER)
    assert ask(fake_gpus, "say(nvmlDeviceGetPowerUsage(gpus[1]))") == 70_000


def test_a_lost_gpu_does_not_answer_and_the_others_do(fake_gpus):
    with running(
        fake_gpus,
        """
say("ready")
sys.stdin.readline()
say([code(nvmlDeviceGetPowerUsage, g) for g in gpus] + [code(nvmlDeviceGetHandleByIndex, 1)])
""",
    ) as child:
        fake_gpus[1].fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)
        child.stdin.write("\n")
        assert child.stdout.readline() == "[0, 15, 0, 0, 15]\n"


def test_a_writer_killed_at_any_time_leaves_a_state_that_works(fake_gpus):
    program = """
library = ctypes.CDLL("libnvidia-ml.so.1")
say(1)
while True:
    library.fake_nvml_set_power_w(0, ctypes.c_double(100))
    nvmlDeviceSetPowerManagementLimit(gpus[0], 300_000)
"""
    fake_gpus[0].set_power(100)
    start_ns, start_j = time.monotonic_ns(), fake_gpus[0].energy_j()
    for _ in range(3):
        with running(fake_gpus, program) as child:
            time.sleep(0.05)
            child.kill()
    fake_gpus[0].set_power(100)
    end_ns = time.monotonic_ns()
    assert fake_gpus[0].energy_j(end_ns) - start_j == pytest.approx((end_ns - start_ns) / 1e7, rel=1e-3)
    assert fake_gpus[0].power_limit_w == 300


def test_a_driver_that_does_not_start(fake_gpus, monkeypatch):
    fake_gpus.fail_init(Nvml.UNKNOWN)
    fake_gpus.load(monkeypatch)
    with pytest.raises(pynvml.NVMLError_Unknown):
        pynvml.nvmlInit()
    fake_gpus.fail_init(None)
    pynvml.nvmlInit()
    pynvml.nvmlShutdown()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()


def test_another_model(make_fake_gpus):
    machine = make_fake_gpus([A100, H100])
    program = (
        "say([[nvmlDeviceGetName(g), nvmlDeviceGetMaxClockInfo(g, 1), nvmlDeviceGetArchitecture(g)] for g in gpus])"
    )
    assert ask(machine, program) == [[A100.name, 1410, 7], [H100.name, 1980, 9]]
