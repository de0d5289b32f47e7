"""Blocks of a window: their number, that they add up to the window, and windows without blocks."""

from dataclasses import replace

import numpy as np
import pytest
from known_power import PlayedSensor, sine

from orchestrator.matrix.compose import compose
from orchestrator.matrix.matrix import build
from orchestrator.measure.blocks import block_metrics, block_ratios, number_of_blocks
from orchestrator.measure.columns import Columns, by_device
from orchestrator.measure.gpu_energy import gpu_energy
from orchestrator.measure.latency import request_metrics
from orchestrator.measure.window import Window
from orchestrator.records.metrics import BLOCK_HALF_WIDTH
from orchestrator.records.series import SCHEMAS
from orchestrator.runner.local import run_cell
from orchestrator.spec.protocol import ProtocolSpec

PROTOCOL = ProtocolSpec()
LATENCY = {"mean_e2el_ms": 1000.0, "p99_itl_ms": 30.0}
POWER = sine(500, 60, 0.21)
KEYS = {"gpu_energy_j_per_output_token", "avg_gpu_power_w", "output_throughput", "mean_itl_ms"}


def window(length_s: float, rule: str = "steady_state") -> Window:
    return Window(rule=rule, start_s=2.0, end_s=2.0 + length_s)


@pytest.mark.parametrize(
    ("length_s", "changed", "n"),
    [
        (40, {}, 10),
        (16, {}, 8),  # of two latencies each
        (9, {}, 5),  # of 1.8 s: shorter than two latencies, but five of them
        (4.9, {}, None),  # five would be shorter than 1 s
        (20, {"mean_e2el_ms": 7000.0}, 5),
        (20, {"mean_e2el_ms": 8100.0}, None),  # five would be shorter than half a latency
        (40, {"p99_itl_ms": 500.0}, 8),
        (20, {"p99_itl_ms": 500.0}, None),
        (40, {"total_gpu_energy_j": 20_000.0, "energy_uncertainty_j": 100.0}, 10),
        (40, {"total_gpu_energy_j": 20_000.0, "energy_uncertainty_j": 160.0}, 6),  # each leaves 5 % open
        (40, {"total_gpu_energy_j": 20_000.0, "energy_uncertainty_j": 220.0}, None),
        (40, {"mean_e2el_ms": 0.0}, None),
    ],
)
def test_number_of_blocks_from_the_least_length_of_a_block(length_s, changed, n):
    assert number_of_blocks(window(length_s), LATENCY | changed, PROTOCOL) == n


def test_the_window_of_a_whole_run_has_no_blocks():
    assert number_of_blocks(window(40, "workflows"), LATENCY, PROTOCOL) is None
    assert number_of_blocks(window(40, "arrivals"), LATENCY, PROTOCOL) == 10


def test_blocks_of_an_open_loop_are_longer():
    assert number_of_blocks(window(10.1, "arrivals"), LATENCY, PROTOCOL) == 5
    assert number_of_blocks(window(9.9, "arrivals"), LATENCY, PROTOCOL) is None
    assert number_of_blocks(window(9.9), LATENCY, PROTOCOL) == 5


@pytest.fixture
def cell_series(series):
    """Series of 30 s with iterations of 25 ms and eight requests at once, each of 40 tokens."""
    requests, tokens = [], []
    for lane in range(8):
        for index in range(30):
            name, begin_s = f"{lane}-{index}", index * 1.0 + lane / 8
            times_s = [begin_s + 0.02 * (1 + token) + 0.001 * (lane % 3) * token for token in range(40)]
            tokens += [{"request_id": name, "t_s": t_s} for t_s in times_s]
            requests.append(
                {"request_id": name, "submitted_s": begin_s, "first_token_s": times_s[0], "finished_s": times_s[-1]}
            )
    iterations = [
        {"start_s": 0.25 * i, "end_s": 0.25 * (i + 1), "n_iterations": 10, "decode_tokens": 80 + i % 7,
         "continued_tokens": 78 + i % 7}
        for i in range(124)
    ]  # fmt: skip
    empty = {name: Columns(SCHEMAS[name].empty_table()) for name in SCHEMAS}
    return empty | {
        "requests": series("requests", requests),
        "tokens": series("tokens", tokens),
        "iterations": series("iterations", iterations),
    }


@pytest.fixture
def gpus():
    return tuple(gpu_energy(gpu, computed=False) for gpu in by_device(PlayedSensor().columns(POWER, (-1.0, 40.0))))


@pytest.mark.parametrize("known", ["tokens", "iterations"])
def test_blocks_add_up_to_the_metrics_of_the_window(cell_series, gpus, known):
    if known == "iterations":
        cell_series["tokens"] = Columns(SCHEMAS["tokens"].empty_table())
    over = window(24.3)
    ratios = block_ratios(np.linspace(over.start_s, over.end_s, 9), gpus, cell_series)
    metrics = {key: ratio.over.sum() / ratio.under.sum() for key, ratio in ratios.items()}
    whole = request_metrics(cell_series["requests"], cell_series["tokens"], cell_series["iterations"], over)
    energy_j = gpus[0].energy_j((over.start_s, over.end_s))
    assert metrics["output_throughput"] == pytest.approx(whole["output_throughput"])
    assert metrics["mean_itl_ms"] == pytest.approx(whole["mean_itl_ms"])
    assert metrics["avg_gpu_power_w"] == pytest.approx(energy_j / over.length_s)
    assert metrics["gpu_energy_j_per_output_token"] == pytest.approx(energy_j / whole["num_output_tokens"])
    assert metrics["gpu_energy_j_per_request"] == pytest.approx(energy_j / whole["num_requests"])


def test_half_widths_of_all_metrics_and_the_number_of_blocks(cell_series, gpus):
    metrics = block_metrics(window(24.3), LATENCY, gpus, cell_series, PROTOCOL)
    assert set(metrics) == {"num_blocks", *(BLOCK_HALF_WIDTH + key for key in (*KEYS, "gpu_energy_j_per_request"))}
    assert metrics["num_blocks"] == 10
    assert 1 < metrics[BLOCK_HALF_WIDTH + "avg_gpu_power_w"] < 60


def test_energy_per_request_needs_ten_requests_per_block(series, cell_series, gpus):
    rows = cell_series["requests"].rows()[::4]
    few = cell_series | {"requests": series("requests", rows)}
    metrics = block_metrics(window(24.3), LATENCY, gpus, few, PROTOCOL)
    assert BLOCK_HALF_WIDTH + "gpu_energy_j_per_request" not in metrics


def test_metrics_that_were_not_measured_have_no_interval(cell_series, gpus):
    of_time = {BLOCK_HALF_WIDTH + "output_throughput", BLOCK_HALF_WIDTH + "mean_itl_ms", "num_blocks"}
    assert set(block_metrics(window(24.3), LATENCY, (), cell_series, PROTOCOL)) == of_time
    late = tuple(gpu_energy(gpu, computed=False) for gpu in by_device(PlayedSensor().columns(POWER, (10.0, 40.0))))
    assert set(block_metrics(window(24.3), LATENCY, late, cell_series, PROTOCOL)) == of_time
    unknown = cell_series | {name: Columns(SCHEMAS[name].empty_table()) for name in ("tokens", "iterations")}
    assert block_metrics(window(24.3), LATENCY, (), unknown, PROTOCOL) == {}
    assert block_metrics(window(4), LATENCY, gpus, cell_series, PROTOCOL) == {}


def test_energy_between_many_edges_equals_energy_between_two(gpus):
    edges_s = np.array([-0.95, 3.0, 3.7, 20.0, 39.95])
    pairs = list(zip(edges_s[:-1].tolist(), edges_s[1:].tolist(), strict=True))
    assert gpus[0].between_j(edges_s) == pytest.approx([gpus[0].energy_j(pair) for pair in pairs])
    (samples,) = by_device(PlayedSensor().columns(POWER, (-1.0, 40.0)))
    no_counter = gpu_energy(replace(samples, energy_j=np.full(len(samples.t_s), np.nan)), computed=False)
    assert no_counter.between_j(edges_s[1:4]) == pytest.approx([no_counter.integral_j(pair) for pair in pairs[1:3]])


@pytest.mark.parametrize(
    ("workflow", "load", "there"), [("chat", "closed", True), ("map_reduce_summary", "closed", False)]
)
def test_a_simulated_cell_has_blocks_if_its_window_is_steady(workflow, load, there):
    expansion = compose((f"workflow={workflow}", f"load={load}", "engine=simulated", "load.num_workflows=100"))
    (cell,) = build(expansion)[0].cells
    metrics = run_cell(cell).metrics
    assert (BLOCK_HALF_WIDTH + "gpu_energy_j_per_output_token" in metrics) is there
    assert ("num_blocks" in metrics) is there
