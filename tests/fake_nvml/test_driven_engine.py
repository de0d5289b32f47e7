"""The driven engine in this process: its load on the GPUs, its series, and the limits that slow it."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pynvml
import pytest
import yaml

from orchestrator.records.series import ITERATIONS, SCHEDULED
from orchestrator.serving.group import engine_of
from orchestrator.spec.cell import Cell
from tests.fake_nvml.fake_gpus import GIB, H100, FakeGpus, Reason
from tests.fake_nvml.truth import Truth
from workflows.clock import MonotonicClock
from workflows.request import Completion, Request, Segment

ROOT = Path(__file__).parents[2]


def a_cell(**options: Any) -> Cell:
    def preset(path: str) -> dict[str, Any]:
        return yaml.safe_load((ROOT / path).read_text())

    return Cell.model_validate(
        {
            "model": preset("conf/model/llama3_1_8b.yaml"),
            "hardware": preset("conf/hardware/h100_sxm.yaml"),
            "engine": {**preset("tests/fake_nvml/conf/engine/driven.yaml"), "load_s": 0.05, **options},
            "workflow": preset("conf/workflow/chat.yaml"),
            "load": {"kind": "closed", "users": 1, "num_workflows": 1},
            "collectors": {"power": "none"},
        }
    )


def requests(count: int, *, prompt_tokens: int = 400, output_tokens: int = 20) -> list[Request]:
    return [
        Request(
            request_id=f"r{i}",
            workflow_id=f"w{i}",
            tenant="t",
            step="s",
            role="r",
            prompt=(Segment(f"c{i}", prompt_tokens),),
            output_tokens=output_tokens,
        )
        for i in range(count)
    ]


class Ran:
    """A cell on a driven engine, from start to close."""

    def __init__(self, machine: FakeGpus, cell: Cell, requested: Sequence[Request], pauses_s: float = 0.0) -> None:
        self.machine = machine
        self.completions: list[Completion] = []
        asyncio.run(self._run(cell, requested, pauses_s))
        self.truth = Truth.of_cell(machine, cell.cell_id)

    async def _run(self, cell: Cell, requested: Sequence[Request], pauses_s: float) -> None:
        engine = engine_of(cell, MonotonicClock())
        self.start = await engine.start()
        self.held_bytes = self.machine[0].memory_used_bytes
        self.origin_s = time.monotonic()
        await engine.begin(cell, self.origin_s)
        if pauses_s:
            for each in requested:
                self.completions.append(await engine.generate(each))
                await asyncio.sleep(pauses_s)
        else:
            self.completions = list(await asyncio.gather(*map(engine.generate, requested)))
        self.end_s = time.monotonic()
        self.series = await engine.series()
        await engine.close()

    @property
    def speed(self) -> float:
        """Iterations per second of work."""
        truth = self.truth.iterations
        return len(truth["start_s"]) / float((truth["end_s"] - truth["start_s"]).sum())

    @property
    def power_w(self) -> np.ndarray:
        truth = self.truth.iterations
        return truth["energy_j"] / (truth["end_s"] - truth["start_s"])


@pytest.fixture
def machine(fake_gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    fake_gpus.load(monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake_gpus


def test_its_series_are_those_of_vllm_without_energy(machine):
    ran = Ran(machine, a_cell(), requests(4))
    assert ran.start.devices == (machine[0].uuid,)
    iterations, scheduled = ran.series["iterations"], ran.series["scheduled"]
    assert iterations.schema == ITERATIONS
    assert scheduled.schema == SCHEDULED
    rows = iterations.to_pandas()
    assert (rows["n_iterations"] == 1).all()
    hidden = ["energy_j", "prefill_energy_j", "decode_energy_j", "sm_clock_mhz", "power_capped"]
    assert rows[hidden].isna().all().all()
    assert {each.prefill_energy_j for each in ran.completions} == {None}
    members = scheduled.to_pandas().groupby("request_id")[["prefill_tokens", "decode_tokens"]].sum()
    assert members["prefill_tokens"].tolist() == [400] * 4
    assert members["decode_tokens"].tolist() == [20] * 4
    assert rows["decode_tokens"].sum() == 80


def test_the_energy_of_the_gpu_is_that_of_its_iterations_and_rest(machine):
    ran = Ran(machine, a_cell(), requests(6), pauses_s=0.03)
    truth, gpu = ran.truth.iterations, machine[0]
    edges_ns = np.rint((ran.origin_s + np.stack([truth["start_s"], truth["end_s"]])) * 1e9).astype(np.int64)
    on_gpu_j = [gpu.energy_j(int(end)) - gpu.energy_j(int(start)) for start, end in edges_ns.T]
    assert on_gpu_j == pytest.approx(truth["energy_j"].tolist(), rel=1e-5)
    of_requests_j = sum(each.prefill_j + each.decode_j for each in ran.truth.requests.values())
    assert of_requests_j == pytest.approx(truth["energy_j"].sum(), rel=1e-9)
    assert truth["prefill_energy_j"].sum() == pytest.approx(sum(e.prefill_j for e in ran.truth.requests.values()))
    end_s = ran.end_s - ran.origin_s
    rest_s = end_s - (truth["end_s"] - truth["start_s"]).sum()
    assert rest_s > 0.15
    assert ran.truth.energy_j(machine, 0, end_s) == pytest.approx(of_requests_j + rest_s * 100, rel=1e-5)
    assert ran.truth.energy_j(machine, 0, end_s) == pytest.approx(
        gpu.energy_j(round(ran.end_s * 1e9)) - gpu.energy_j(round(ran.origin_s * 1e9)), rel=1e-6
    )
    assert machine[1].power_w() == H100.idle_power_w


def test_iterations_follow_each_other_while_there_is_work(machine):
    ran = Ran(machine, a_cell(), requests(2, output_tokens=60))
    truth = ran.truth.iterations
    gaps_s = truth["start_s"][1:] - truth["end_s"][:-1]
    assert gaps_s.min() >= 0
    assert np.median(gaps_s) == 0
    for each in ran.completions:
        assert each.finished_s == pytest.approx(each.first_token_s + each.output_tokens * 0.007, rel=0.5)


def test_its_process_holds_memory_and_is_listed_until_it_closes(machine):
    before = machine[0].memory_used_bytes
    ran = Ran(machine, a_cell(gpu_memory_utilization=0.5), requests(1))
    assert ran.held_bytes == before + 40 * GIB
    assert machine[0].memory_used_bytes == before
    assert machine[0].power_w() == H100.idle_power_w


def test_two_gpus_share_the_work(machine):
    ran = Ran(machine, a_cell(tensor_parallel_size=2), requests(2))
    assert ran.start.devices == (machine[0].uuid, machine[1].uuid)
    shares = [gpu.energy_j(round(ran.end_s * 1e9)) - gpu.energy_j(round(ran.origin_s * 1e9)) for gpu in machine[:2]]
    assert shares[0] == pytest.approx(shares[1], rel=1e-9)
    assert ran.truth.energy_j(machine, 0, ran.end_s - ran.origin_s) == pytest.approx(sum(shares))


def test_the_gpus_that_are_visible_are_those_it_takes(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"2,{machine[3].uuid}")
    ran = Ran(machine, a_cell(tensor_parallel_size=2), requests(1))
    assert ran.start.devices == (machine[2].uuid, machine[3].uuid)


@pytest.fixture
def heavy() -> list[Request]:
    return requests(32, prompt_tokens=2000, output_tokens=8)


def test_a_cap_that_binds_slows_it_and_is_kept(machine, heavy):
    free = Ran(machine, a_cell(), heavy)
    assert free.power_w.max() > 400
    assert not free.truth.iterations["power_capped"].any()
    machine[0].set_power_limit(300)
    capped = Ran(machine, a_cell(), heavy)
    assert capped.power_w.max() <= 300
    assert capped.truth.iterations["power_capped"].any()
    assert capped.truth.iterations["sm_clock_mhz"].min() < 1500
    assert capped.speed < 0.9 * free.speed


def test_a_cap_that_does_not_bind_or_does_not_act_changes_nothing(machine):
    requested = requests(1, output_tokens=30)
    free = Ran(machine, a_cell(), requested)
    machine[0].set_power_limit(690)
    inert = Ran(machine, a_cell(), requested)
    machine[0].set_power_limit(200, acts=False)
    dead = Ran(machine, a_cell(), requested)
    for ran in (inert, dead):
        assert ran.power_w == pytest.approx(free.power_w)
        assert ran.speed == pytest.approx(free.speed)
        assert not ran.truth.iterations["power_capped"].any()


def test_a_locked_clock_is_kept_and_saves_power(machine, heavy):
    free = Ran(machine, a_cell(), heavy)
    handle = _handle(machine)
    pynvml.nvmlDeviceSetGpuLockedClocks(handle, 990, 990)
    locked = Ran(machine, a_cell(), heavy)
    pynvml.nvmlShutdown()
    assert set(locked.truth.iterations["sm_clock_mhz"]) == {990}
    assert locked.power_w.max() < 0.8 * free.power_w.max()
    assert locked.speed < free.speed


def test_readings_of_the_driver_during_work_and_at_rest(machine):
    handle, seen = _handle(machine), []

    async def look() -> None:
        engine = engine_of(cell, MonotonicClock())
        await engine.start()
        await engine.begin(cell, time.monotonic())
        answer = asyncio.gather(*map(engine.generate, requests(16, prompt_tokens=2000, output_tokens=20)))
        await asyncio.sleep(0.15)
        seen.append(_readings(handle))
        await answer
        await asyncio.sleep(0.02)
        seen.append(_readings(handle))
        await engine.series()
        await engine.close()

    cell = a_cell()
    machine[0].set_power_limit(250)
    asyncio.run(look())
    pynvml.nvmlShutdown()
    busy, rest = seen
    assert busy["reasons"] == Reason.SW_POWER_CAP
    assert 210 <= busy["clock"] < 1980
    assert busy["power"] == pytest.approx(250, rel=0.1)
    assert busy["utilization"] == 100
    assert rest == {"reasons": Reason.GPU_IDLE, "clock": 1980, "power": 100.0, "utilization": 0}


def test_a_gpu_that_is_too_hot_runs_slowly_until_it_has_cooled(machine, heavy):
    machine[0].warm(now_c=70, celsius_per_w=0.2, tau_s=0.2)
    ran = Ran(machine, a_cell(throttles_at_c=80), heavy)
    clocks = set(ran.truth.iterations["sm_clock_mhz"])
    assert 990 in clocks
    assert max(clocks) == 1980


def test_a_planned_fault_begins_during_the_cell_and_ends_with_it(machine):
    handle, codes = _handle(machine), []

    async def look() -> None:
        cell = a_cell(trouble="gpu_lost", trouble_at_s=0.1, trouble_for_s=0.1)
        engine = engine_of(cell, MonotonicClock())
        await engine.start()
        await engine.begin(cell, time.monotonic())
        begun_s = time.monotonic()
        for at_s in (0.05, 0.15, 0.25):
            await asyncio.sleep(max(0.0, begun_s + at_s - time.monotonic()))
            codes.append(_code(pynvml.nvmlDeviceGetPowerUsage, handle))
        await engine.series()
        await engine.close()

    asyncio.run(look())
    pynvml.nvmlShutdown()
    assert codes == [0, pynvml.NVML_ERROR_GPU_IS_LOST, 0]


def _handle(machine: FakeGpus) -> Any:
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(machine[0].uuid)


def _readings(handle: Any) -> dict[str, float]:
    return {
        "reasons": pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
        "clock": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
        "power": pynvml.nvmlDeviceGetFieldValues(handle, [186])[0].value.uiVal / 1000,
        "utilization": pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
    }


def _code(function: Any, handle: Any) -> int:
    try:
        function(handle)
    except pynvml.NVMLError as error:
        return error.value
    return 0
