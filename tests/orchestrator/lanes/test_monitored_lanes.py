"""Lanes that sample and set fake GPUs: what is recorded, and that limits are restored whoever is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import psutil
import pytest
from driven_cells import a_driven_cell
from lane_fakes.cells import in_virtual_time

from collectors.control import acquire
from orchestrator.errors import EnvironmentFailure
from orchestrator.lanes.executor import RayExecutor
from orchestrator.monitor.limits import requested_limits
from orchestrator.ray_runtime.node_probe import node_refusals
from orchestrator.records.record import LaneRecord
from orchestrator.spec.settings import ClusterSettings
from orchestrator.sweep.scheduler import schedule
from tests.fake_nvml.fake_gpus import FakeGpus
from tests.fake_nvml.gpu_models import SENSED_H100
from tests.fake_nvml.terms import SetKind

pytestmark = [pytest.mark.ray, pytest.mark.slow]


HERE = Path(__file__).parent


PYTHONPATH = os.pathsep.join(map(str, (HERE, HERE.parent, HERE.parent.parent.parent)))


DRIVER = """
import json
from driven_cells import a_driven_cell
from lane_fakes.cells import in_virtual_time
from orchestrator.lanes.executor import RayExecutor
from orchestrator.sweep.scheduler import schedule
from orchestrator.spec.settings import ClusterSettings

cells = [a_driven_cell(power_limit_w=300, sm_clock_mhz=1200, num_workflows=12, repeat=repeat) for repeat in (0, 1)]
executor = RayExecutor(ClusterSettings(), in_virtual_time)
try:
    executor.start()
    for finished in schedule(cells, executor, max_attempts=3):
        errors = [attempt.error for attempt in finished.attempts]
        print(json.dumps({"status": finished.result and finished.result.status, "errors": errors}), flush=True)
finally:
    executor.close()
"""


@pytest.fixture
def machine(make_fake_gpus, tmp_path, monkeypatch) -> FakeGpus:
    """Two H100; an operator has limited the first one."""
    machine = make_fake_gpus([SENSED_H100] * 2)
    machine[0].set_power_limit(650)
    for name, value in {**machine.variables, "JOULEGRID_STATE_DIR": str(tmp_path / "state")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    return machine


@pytest.fixture
def executor(machine) -> Iterator[RayExecutor]:
    executor = RayExecutor(ClusterSettings(placement_timeout_s=30, num_workers=1), in_virtual_time, max_attempts=1)
    executor.start()
    try:
        yield executor
    finally:
        executor.close()


def _is_restored(machine: FakeGpus) -> bool:
    limits = [gpu.power_limit_w for gpu in machine]
    return limits == [650, 700] and all(gpu.locked_sm_clock_mhz is None for gpu in machine)


def _within(timeout_s: float, held) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not held() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return held()


def test_a_cell_has_its_limit_its_samples_and_its_lanes_start(executor, machine):
    cells = [
        a_driven_cell(power_limit_w=300),
        a_driven_cell(power_limit_w=500, sm_clock_mhz=1200, executor="ray"),
        a_driven_cell(),
    ]
    lanes: dict[str, LaneRecord] = {}
    finished = list(schedule(cells, executor, max_attempts=1, on_lane=lambda lane: lanes.update({lane.lane_id: lane})))
    assert [each.error for each in finished] == [None] * 3
    (lane,) = lanes.values()
    (uuid,) = lane.devices
    limits_before_w = {gpu.uuid: gpu.power_limit_w for gpu in machine}
    for each in finished:
        wanted = each.cell.hardware
        control = each.result.control[uuid]
        assert control["requested"] == {"power_limit_w": wanted.power_limit_w, "sm_clock_mhz": wanted.sm_clock_mhz}
        power = each.result.series["power"].to_pydict()
        assert set(power["device"]) == {uuid}
        assert power["t_s"][0] < 0
        assert each.result.phases[0].name == "limits"
        assert each.result.phases[0].end_s <= 0
        assert each.result.metrics["total_gpu_energy_j"] > 0
        assert set(each.result.series["gpu_processes"].column("own").to_pylist()) == {True}
        assert each.result.provenance["gpus"]["driver"] == "580.95.05"
        limits = {limit for t_s, limit in zip(power["t_s"], power["power_limit_w"], strict=True) if t_s > 0.7}
        assert limits == {wanted.power_limit_w or control["enforced_power_limit_w"]}
    assert lane.bare_idle_power_w == pytest.approx(70, rel=0.05)
    assert lane.loaded_idle_power_w == pytest.approx(100, rel=0.05)
    assert lane.engine_start_energy_j > 70 * lane.engine_start_s
    executor.close()
    assert _is_restored(machine)
    assert limits_before_w[uuid] in (650, 700, 300, 500)


def test_all_gpus_of_an_engine_are_sampled_and_set(executor, machine):
    cell = a_driven_cell(power_limit_w=300, engine={"tensor_parallel_size": 2})
    (finished,) = schedule([cell], executor, max_attempts=1)
    uuids = {gpu.uuid for gpu in machine}
    assert finished.result.control.keys() == uuids
    power = finished.result.series["power"].to_pydict()
    assert set(power["device"]) == uuids
    assert set(finished.result.provenance["gpus"]["uuid"]) == uuids
    executor.close()
    assert _is_restored(machine)


def test_a_gpu_that_another_sets_is_refused_before_the_engine_starts(executor, machine, monkeypatch):
    machine.load(monkeypatch)
    with acquire([gpu.uuid for gpu in machine]):
        starts: list[LaneRecord] = []
        with pytest.raises(EnvironmentFailure, match="is controlled by pid"):
            list(schedule([a_driven_cell(power_limit_w=300)], executor, max_attempts=3, on_lane=starts.append))
    assert [record.engine_start_s for record in starts if record.engine_start_s is not None] == []


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("EngineActor", signal.SIGKILL),
        pytest.param("CollectorActor", signal.SIGKILL, marks=pytest.mark.exhaustive),
        ("raylet/raylet", signal.SIGKILL),
        ("driver", signal.SIGKILL),
        ("driver", signal.SIGINT),
    ],
)
def test_limits_are_restored_whoever_is_ended(name, number, machine, tmp_path):
    mark, n_before = str(tmp_path), len(machine.set_calls)
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdout=subprocess.PIPE,
        text=True,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("RAY_")}, "JOULEGRID_TEST": mark},
        start_new_session=True,
    )
    with process:
        try:
            assert _within(150, lambda: any(gpu.power_limit_w == 300 and gpu.locked_sm_clock_mhz for gpu in machine))
            time.sleep(0.5)
            _of(mark, process.pid, name).send_signal(number)
            if name in ("EngineActor", "CollectorActor"):
                out, _ = process.communicate(timeout=120)
                ended = [json.loads(line) for line in out.splitlines()]
                assert [each["status"] for each in ended] == ["ok", "ok"]
                assert sum(error is not None for each in ended for error in each["errors"]) == 1
            assert _within(10, lambda: _is_restored(machine))
        finally:
            process.kill()
    set_calls = machine.set_calls[n_before:]
    limits_mw = [call.values[0] for call in set_calls if call.kind is SetKind.LIMIT]
    assert set(limits_mw) <= {300_000, 650_000, 700_000}
    n_lanes = 2 if name in ("EngineActor", "CollectorActor") else 1
    capped = [limit_mw == 300_000 for limit_mw in limits_mw]  # a permission check sets the present limit
    assert [is_cap for is_cap, _ in groupby(capped)] == [False, *[True, False] * n_lanes]


def test_the_nodes_of_a_cluster_report_which_limits_they_refuse(executor, machine):
    address, requested = executor._cluster.own.address, requested_limits([a_driven_cell(power_limit_w=300)])
    assert node_refusals(address, requested) == ((None,),)
    machine.set_privileged(False)
    ((refusal,),) = node_refusals(address, requested)
    assert refusal.startswith(f"node {socket.gethostname()}: hardware.power_limit_w may not be set on GPU ")


def _of(mark: str, driver_pid: int, name: str) -> psutil.Process:
    """Return the driver, or the process of its Ray with this name."""
    if name == "driver":
        return psutil.Process(driver_pid)
    for process in psutil.process_iter():
        try:
            if name in " ".join(process.cmdline()) and process.environ().get("JOULEGRID_TEST") == mark:
                return process
        except psutil.Error:
            continue
    raise AssertionError(f"no process {name}")
