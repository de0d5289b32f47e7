"""Wait until the memory of an ended engine is free, on the fake driver."""

import threading

import pytest

from collectors.errors import GpuLost, MemoryHeld
from collectors.memory_gate import memory_baseline, wait_for_baseline
from tests.fake_nvml.children import running
from tests.fake_nvml.fake_gpus import BASELINE_BYTES, GIB, FakeGpus, Nvml
from tests.fake_nvml.layout import CallClass

HOLDS_FIVE_GIB = """
ctypes.CDLL("libnvidia-ml.so.1").fake_nvml_hold_memory(1, ctypes.c_ulonglong(5 << 30))
say(1); time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _fake_driver(fake_gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpus.load(monkeypatch)


def test_the_baseline_is_the_memory_in_use(fake_gpus):
    fake_gpus[0].hold_memory(4242, GIB)
    uuids = [fake_gpus[0].uuid, fake_gpus[2].uuid]
    baseline = memory_baseline(uuids)
    assert baseline == {uuids[0]: BASELINE_BYTES + GIB, uuids[1]: BASELINE_BYTES}
    wait_for_baseline(baseline, slack_bytes=0, timeout_s=0)


def test_the_wait_ends_when_the_engine_is_gone(fake_gpus):
    baseline = memory_baseline([gpu.uuid for gpu in fake_gpus])
    with running(fake_gpus, HOLDS_FIVE_GIB) as engine:
        with pytest.raises(MemoryHeld):
            wait_for_baseline(baseline, slack_bytes=0, timeout_s=0)
        threading.Timer(0.15, engine.kill).start()
        wait_for_baseline(baseline, slack_bytes=0, timeout_s=30)
    assert fake_gpus[1].memory_used_bytes == BASELINE_BYTES


def test_the_error_names_the_processes_that_hold_memory(fake_gpus):
    baseline = memory_baseline([gpu.uuid for gpu in fake_gpus])
    fake_gpus[3].hold_memory(777, 2 * GIB)
    with running(fake_gpus, HOLDS_FIVE_GIB) as engine, pytest.raises(MemoryHeld) as refusal:
        wait_for_baseline(baseline, slack_bytes=GIB, timeout_s=0.2)
    assert str(refusal.value) == (
        "GPU memory was not freed within 0.2 s: "
        f"{fake_gpus[1].uuid} has 5.00 GiB in use, 0.00 GiB before, held by pid {engine.pid} (5.00 GiB); "
        f"{fake_gpus[3].uuid} has 2.00 GiB in use, 0.00 GiB before, held by pid 777 (2.00 GiB)"
    )


def test_slack_is_allowed_and_only_the_named_gpus_count(fake_gpus):
    baseline = memory_baseline([fake_gpus[0].uuid])
    fake_gpus[0].hold_memory(777, GIB)
    fake_gpus[1].hold_memory(777, 50 * GIB)
    wait_for_baseline(baseline, slack_bytes=GIB, timeout_s=0)
    with pytest.raises(MemoryHeld):
        wait_for_baseline(baseline, slack_bytes=GIB - 1, timeout_s=0)


def test_memory_without_a_named_owner_says_so(fake_gpus):
    fake_gpus[0].set_baseline(3 * GIB)
    with pytest.raises(MemoryHeld, match="held by a process the driver does not name"):
        wait_for_baseline({fake_gpus[0].uuid: 0}, slack_bytes=0, timeout_s=0)


def test_a_driver_that_lists_no_processes_does_not_hide_the_memory(fake_gpus):
    baseline = memory_baseline([fake_gpus[0].uuid])
    fake_gpus[0].hold_memory(777, GIB)
    fake_gpus[0].fail(CallClass.PROCESSES, Nvml.NOT_SUPPORTED)
    with pytest.raises(MemoryHeld, match=r"1.00 GiB in use.*the processes on GPU-.* not supported"):
        wait_for_baseline(baseline, slack_bytes=0, timeout_s=0)


def test_a_gpu_lost_while_waiting_ends_the_wait(fake_gpus):
    baseline = memory_baseline([fake_gpus[0].uuid])
    fake_gpus[0].fail(CallClass.DEVICE, Nvml.GPU_IS_LOST)
    with pytest.raises(GpuLost, match=fake_gpus[0].uuid):
        wait_for_baseline(baseline, slack_bytes=0, timeout_s=60)
