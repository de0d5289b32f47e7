"""GPUs of a machine, their memory and processes, through NVML on the fake driver."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pynvml
import pytest

from collectors.capabilities import survey
from collectors.errors import CollectorError, DriverMissing, GpuLost, UnknownGpu
from collectors.nvml_devices import Gpu, GpuProcess, Nvml, gpu_names
from tests.fake_nvml.fake_gpus import A100, BASELINE_BYTES, GIB, H100, FakeGpus
from tests.fake_nvml.fake_gpus import Nvml as Code
from tests.fake_nvml.layout import CallClass

SLICED = replace(A100, mig_memory_bytes=(10 * GIB, 20 * GIB))


@pytest.fixture
def machine(make_fake_gpus, monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    """Two whole GPUs and one in MIG instances."""
    made = make_fake_gpus([H100, H100, SLICED])
    made.load(monkeypatch)
    return made


@pytest.fixture
def nvml(machine: FakeGpus) -> Iterator[Nvml]:
    with Nvml() as opened:
        yield opened


def test_every_gpu_has_a_name_a_uuid_and_an_index(nvml, machine):
    assert nvml.gpus() == (
        Gpu(machine[0].uuid, 0, "NVIDIA H100 80GB HBM3", 80 * GIB),
        Gpu(machine[1].uuid, 1, "NVIDIA H100 80GB HBM3", 80 * GIB),
        Gpu(machine[2].uuid, 2, "NVIDIA A100-SXM4-80GB", 80 * GIB),
    )
    assert gpu_names() == (H100.name, H100.name, A100.name)


def test_ids_as_ray_and_cuda_give_them(nvml, machine):
    first, second, third = nvml.gpus()
    assert nvml.resolve([1, 0]) == (second, first)
    assert nvml.resolve(["2", machine[0].uuid]) == (third, first)
    assert nvml.resolve([machine[1].uuid[:12]]) == (second,)
    assert nvml.resolve([]) == ()


def test_ids_are_indices_of_the_machine_whatever_this_process_may_use(nvml, machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.uuid for gpu in nvml.resolve(os.environ["CUDA_VISIBLE_DEVICES"].split(","))] == [machine[1].uuid]


def test_a_mig_instance_is_its_parent_with_a_note(nvml, machine):
    small, large = machine[2].mig_uuids
    (instance,) = nvml.resolve([large])
    assert instance == Gpu(machine[2].uuid, 2, A100.name, 20 * GIB, mig_uuid=large)
    assert instance.mig
    assert not nvml.resolve(["2"])[0].mig
    assert nvml.resolve([small[:16]])[0].mig_uuid == small
    assert nvml.memory_used_bytes(large) == 0


@pytest.mark.parametrize("wrong", [3, "3", "GPU-", "GPU-0123"])
def test_an_id_that_names_no_gpu_or_several_is_refused(nvml, machine, wrong):
    listed = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in machine)
    with pytest.raises(UnknownGpu) as refusal:
        nvml.resolve(["0", wrong])
    n_matches = 3 if wrong == "GPU-" else 0
    assert str(refusal.value) == f"GPU id '{wrong}' matches {n_matches} of this machine's GPUs: {listed}"


@pytest.mark.parametrize("wrong", ["MIG-", "MIG-0123"])
def test_an_id_that_names_no_mig_instance_or_several_is_refused(nvml, machine, wrong):
    with pytest.raises(UnknownGpu) as refusal:
        nvml.resolve([wrong])
    n_matches = 2 if wrong == "MIG-" else 0
    listed = ", ".join(machine[2].mig_uuids)
    assert str(refusal.value) == f"GPU id '{wrong}' matches {n_matches} of this machine's GPUs: {listed}"


@pytest.mark.parametrize("wrong", ["-1", "tesla", ""])
def test_an_invalid_id_is_refused(nvml, wrong):
    with pytest.raises(UnknownGpu, match=f"GPU id '{wrong}': allowed are an index, GPU-<uuid> and MIG-<uuid>"):
        nvml.resolve([wrong])


def test_memory_and_the_processes_that_hold_it(nvml, machine):
    assert nvml.memory_used_bytes(machine[0].uuid) == BASELINE_BYTES
    assert nvml.compute_processes(machine[0].uuid) == ()
    machine[0].hold_memory(4242, 3 * GIB)
    machine[0].hold_memory(4243, GIB)
    assert nvml.memory_used_bytes(machine[0].uuid) == BASELINE_BYTES + 4 * GIB
    assert nvml.compute_processes(machine[0].uuid) == (GpuProcess(4242, 3 * GIB), GpuProcess(4243, GIB))
    assert nvml.memory_used_bytes(machine[1].uuid) == BASELINE_BYTES


def test_an_error_names_what_was_read_and_the_reason(nvml, machine):
    machine[0].fail(CallClass.MEMORY, Code.NOT_SUPPORTED)
    with pytest.raises(CollectorError, match=f"the memory of {machine[0].uuid}: the driver says not supported") as got:
        nvml.memory_used_bytes(machine[0].uuid)
    assert isinstance(got.value.__cause__, pynvml.NVMLError)
    with pytest.raises(CollectorError, match="the processes on GPU-none: the driver says not found"):
        nvml.compute_processes("GPU-none")


def test_a_lost_gpu_has_an_error_of_its_own(nvml, machine):
    machine[1].fail(CallClass.DEVICE, Code.GPU_IS_LOST)
    with pytest.raises(GpuLost, match="GPU 1: the driver says gpu is lost"):
        nvml.gpus()
    assert [gpu.index for gpu in nvml.resolve(["0", machine[2].uuid, machine[2].mig_uuids[0]])] == [0, 2, 2]
    assert len(gpu_names()) == 2  # the others can still be used


def test_a_gpu_that_a_batch_system_denies_is_left_out(nvml, machine):
    machine[0].fail(CallClass.DEVICE, Code.NO_PERMISSION)
    assert [gpu.index for gpu in nvml.gpus()] == [1, 2]
    assert gpu_names() == (H100.name, A100.name)
    assert survey().gpus_lost == 0


def test_without_a_driver_there_is_no_gpu(machine, monkeypatch):
    monkeypatch.delenv("FAKE_NVML_STATE")
    assert gpu_names() == ()
    with pytest.raises(DriverMissing, match="NVML cannot be opened: Driver Not Loaded"), Nvml():
        pass


def test_without_the_library_there_is_no_gpu(monkeypatch, tmp_path):
    def not_there() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", not_there)
    assert gpu_names() == ()
    with pytest.raises(DriverMissing, match="Library Not Found"), Nvml():
        pass


def test_nvml_is_closed_even_after_an_error(machine):
    with pytest.raises(UnknownGpu), Nvml() as nvml:
        nvml.resolve(["9"])
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()
