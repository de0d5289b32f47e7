"""Power that steps is drawn as steps: no slope that was not there, and no joule more or less."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.report import interactive, static
from orchestrator.report.cell_charts import power_over_time
from orchestrator.report.detail import Detail, Uncapped
from orchestrator.report.sketch import sketch
from orchestrator.report.timeline import power_trace

IDLE_S = 2.0


def stepping(n_steps):
    """50 W for two seconds, then 200 W and 150 W by turns, a second in all: both samples of an edge at one time."""
    inner = np.linspace(IDLE_S, IDLE_S + 1, n_steps + 1)
    times = np.concatenate([[0.0], np.repeat(inner, 2)[:-1]])
    watts = np.concatenate([[50.0, 50.0], np.repeat(np.where(np.arange(n_steps) % 2, 150.0, 200.0), 2)])
    columns = {"t_s": times, "device": ["SIM-0"] * len(times), "power_w": watts}
    return pa.table(columns), float((np.diff(times) * watts[1:]).sum())


def detail_of(power, n_bins):
    trace = power_trace(power, n_bins)
    given = {"panel": "p", "label": "best", "cell_id": "c", "cap_w": 250.0, "window_s": None, "rule": None}
    return Detail(**given, power=trace, bars=(), uncapped=Uncapped(label="uncapped", power=trace))


def interactive_lines(detail):
    figure = interactive.draw(power_over_time([detail]), simulated=True)
    steps = [trace for trace in figure.data if trace.line.dash != "dash"]
    assert all(trace.line.shape == "hv" for trace in steps)
    return [(np.array(trace.x), np.array(trace.y)) for trace in steps]


def printed_lines(detail):
    (panel,) = static.draw(power_over_time([detail]), simulated=True).axes
    curves = [container.lines[0] for container in panel.containers if container.lines[0].get_linestyle() != "--"]
    assert [line.get_drawstyle() for line in curves] == ["steps-post"] * 2
    return [line.get_data() for line in curves]


@pytest.mark.parametrize(("n_steps", "n_bins"), [(4, 400), (500, 400), (3000, 1500)])
@pytest.mark.parametrize("lines_of", [interactive_lines, printed_lines])
def test_the_idle_stretch_is_flat_and_energy_is_kept(lines_of, n_steps, n_bins):
    power, energy_j = stepping(n_steps)
    lines = lines_of(detail_of(power, n_bins))
    bin_s = 3.0 / n_bins
    for times, watts in lines:
        held_until = times[1:]
        assert watts[:-1][held_until <= IDLE_S] == pytest.approx(50.0)
        assert watts[:-1][held_until > IDLE_S + bin_s].min() >= 150.0 - 1e-6
    times, watts = lines[-1]
    assert float((np.diff(times) * watts[:-1]).sum()) == pytest.approx(energy_j, rel=2e-3)


def test_bins_between_samples_are_exact():
    power, energy_j = stepping(4)
    trace = power_trace(power)
    assert trace.edges_s.tolist() == [0.0, 2.0, 2.25, 2.5, 2.75, 3.0]
    assert trace.mean_w.tolist() == trace.low_w.tolist() == trace.high_w.tolist() == [50, 200, 150, 200, 150]
    assert float((np.diff(trace.edges_s) * trace.mean_w).sum()) == pytest.approx(energy_j, rel=1e-12)


def test_steps_of_several_devices_add_up():
    one, energy_j = stepping(4)
    other = pa.table({"t_s": [0.0, 1.0, 1.0, 3.0], "device": ["SIM-1"] * 4, "power_w": [10.0, 10.0, 30.0, 30.0]})
    trace = power_trace(pa.concat_tables([one, other]))
    assert trace.mean_w.tolist() == [60, 80, 230, 180, 230, 180]
    assert float((np.diff(trace.edges_s) * trace.mean_w).sum()) == pytest.approx(energy_j + 70, rel=1e-12)


def test_the_sketch_of_a_cell_goes_level_or_straight_up():
    text = sketch(stepping(500)[0], None, title="", window_s=None, cap_w=None)
    places = [tuple(map(float, place.split(","))) for place in text.split("polyline points='")[1].split("'")[0].split()]
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in itertools.pairwise(places))
