"""docs/h200.md shows the stored results: the predictions of the shipped sweeps, and measured cells."""

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.h200 import DATA, SWEEPS
from benchmarks.h200.page import calibration_section, measured_section
from benchmarks.h200.predict import cells_of, predicted_rows, prediction_section, published
from benchmarks.result_files import with_section
from orchestrator.cli import main

ROOT = Path(__file__).parents[3]
ENERGY = "gpu_energy_j_per_output_token"
PREDICTION = json.loads((DATA / "prediction.json").read_text())


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_cell_of_the_shipped_sweeps_is_predicted(sweep: str):
    cells = {(cell.workflow.kind, cell.engine.max_num_seqs) for cell in cells_of(sweep)}
    predicted = {(row["workflow"], row["max_num_seqs"]) for row in predicted_rows(PREDICTION, sweep)}
    assert predicted == cells


def test_the_sweeps_ask_nothing_of_the_gpus_settings():
    for cell in (cell for sweep in SWEEPS for cell in cells_of(sweep)):
        assert (cell.hardware.power_limit_w, cell.hardware.sm_clock_mhz) == (None, None)
        assert cell.load.users == cell.engine.max_num_seqs


def test_the_page_holds_the_prediction_that_is_kept():
    page = (ROOT / "docs" / "h200.md").read_text()
    assert with_section(page, "What is predicted", prediction_section(PREDICTION)) == page
    row = next(row for row in predicted_rows(PREDICTION, "reference_8b") if row["max_num_seqs"] == 64)
    assert f"| 64 | {row['gpu_energy_j_per_output_token']:.3f} | {row['avg_gpu_power_w']:.0f} |" in page


def test_what_is_measured_stands_beside_its_prediction_and_what_was_published(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = (
        "+sweep=reference_8b",
        "engine.max_num_seqs=8,64",
        "repeat=0,1",
        "hardware=h200_sxm",
        "engine=simulated",
    )
    assert main([*arguments, "executor=inline", "tracking=none"]) == 0
    capsys.readouterr()
    shutil.copyfile(DATA / "prediction.json", tmp_path / "prediction.json")
    text = measured_section(tmp_path)
    rows = {
        int(cells[0]): cells
        for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|")
        if cells[0].isdigit()
    }
    assert set(rows) == {8, 64}
    energy_j, half = (float(number) for number in re.findall(r"[\d.]+", rows[64][1]))
    predicted = next(row for row in predicted_rows(PREDICTION, "reference_8b") if row["max_num_seqs"] == 64)
    assert energy_j == pytest.approx(predicted["gpu_energy_j_per_output_token"], abs=3 * half)
    assert float(rows[64][2]) == pytest.approx(energy_j / predicted["gpu_energy_j_per_output_token"], abs=0.006)
    assert float(rows[64][-1]) == pytest.approx(energy_j / published()["H100", 64][ENERGY], abs=0.006)
    assert rows[64][7] == "yes"
    assert "No engine started." in text


def test_the_page_shows_the_tables_of_calibrate_without_the_json():
    text = calibration_section('Parameters\n  flop_efficiency  1  0.78   \n{"command": "calibrate"}\n')
    assert text.endswith("printed:\n\n```\nParameters\n  flop_efficiency  1  0.78\n```")
