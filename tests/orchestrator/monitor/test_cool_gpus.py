"""The cool-down gate on a fake GPU with a temperature sensor."""

import asyncio
import threading
import time

import pytest
from driven_cells import a_driven_cell

from collectors.sampler import Sampler
from orchestrator.monitor.instruments import Instruments
from orchestrator.monitor.local import LocalMonitor
from orchestrator.runner.phases import cool_down
from orchestrator.spec.cell import Cell
from workflows.clock import MonotonicClock


@pytest.fixture
def instruments(machine):
    def sampler(sources, period_s):
        return Sampler([source.build() for source in sources], period_s)

    opened = Instruments([machine[0].uuid], open_sampler=sampler, own_pids=lambda: {1})
    yield opened
    opened.close()


def a_cell(**protocol) -> Cell:
    plain = a_driven_cell().canonical()
    return Cell.model_validate(plain | {"protocol": plain.get("protocol", {}) | protocol})


def until_known(instruments, at_c):
    while [row["temperature_c"] for row in instruments.latest().values()] != [at_c]:
        time.sleep(0.02)


def test_a_lane_cools_down_to_the_temperature_of_its_first_cell(instruments, machine):
    cell = a_cell(cooldown_band_c=5, cooldown_timeout_s=60)
    machine[0].set_temperature(40)
    instruments.open(cell)
    until_known(instruments, 40)
    assert instruments.prepare(cell).first_temperature_c == {machine[0].uuid: 40}
    machine[0].set_temperature(70)
    until_known(instruments, 70)
    prepared = instruments.prepare(cell)
    assert prepared.first_temperature_c == {machine[0].uuid: 40}
    cooling = threading.Timer(1.0, machine[0].set_temperature, (45,))
    cooling.start()
    begun_s = time.monotonic()
    assert asyncio.run(cool_down(cell, LocalMonitor(instruments), prepared, MonotonicClock())) == ()
    assert time.monotonic() - begun_s >= 1.0
    cooling.join()


def test_a_gpu_that_stays_warm_makes_the_cell_invalid(instruments, machine):
    cell = a_cell(cooldown_below_c=50, cooldown_timeout_s=0.3)
    machine[0].set_temperature(70)
    instruments.open(cell)
    until_known(instruments, 70)
    (reason,) = asyncio.run(cool_down(cell, LocalMonitor(instruments), instruments.prepare(cell), MonotonicClock()))
    assert f"{machine[0].uuid} is at 70 °C, to be at most 50 °C" in reason.detail
