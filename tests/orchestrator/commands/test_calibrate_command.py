"""``calibrate`` from the command line: what it prints, writes, excludes and refuses."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from known_gpu import KnownGpu, a_cell, measured_sweep

from orchestrator.cli import main
from orchestrator.spec.hardware import HardwareSpec


def small(*batches):
    return [a_cell(batch, workflows=16) for batch in batches]


def calibrated(capsys, *arguments, hardware="h200_sxm"):
    assert main(["calibrate", *map(str, arguments), f"hardware={hardware}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return "\n".join(lines[:-1]), json.loads(lines[-1])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """One measured cell and one that is invalid."""
    runs_dir = tmp_path_factory.mktemp("runs")
    return measured_sweep(runs_dir, small(8, 16), KnownGpu(noise_ratio=0), invalid={1: "window_too_short"})


def changed(sweep: Path, folder: Path, change) -> Path:
    """A copy of the sweep whose records are changed."""
    root = shutil.copytree(sweep, folder / sweep.name)
    for path in root.glob("cells/*/record.json"):
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))
    return root


def test_the_written_preset_is_the_fit_and_a_second_fit_with_it_is_the_same(sweep, tmp_path, capsys):
    preset = tmp_path / "mine" / "hardware" / "h200_fitted.yaml"
    text, line = calibrated(capsys, sweep, f"write={preset}")
    written = HardwareSpec.model_validate(yaml.safe_load(preset.read_text()))
    assert written.model_dump(mode="json") == line["hardware_spec"]
    assert (line["written"], line["cells"], line["configurations"]) == (str(preset), 1, 1)
    assert f"written: {preset}" in text
    assert f"to 1 cells of {sweep.name} (vllm 0.0.0)" in preset.read_text()
    assert max(map(len, preset.read_text().splitlines())) <= 120

    again_text, again = calibrated(capsys, sweep, f"--config-dir={tmp_path / 'mine'}", hardware="h200_fitted")
    assert again["parameters"] == line["parameters"]
    assert "flop_efficiency" in again["preset_differs"]
    assert "the prior is what the cells were planned with; hardware=h200_fitted differs in" in again_text
    options = (f"--config-dir={tmp_path / 'mine'}", "prior=preset")
    from_preset = calibrated(capsys, sweep, *options, hardware="h200_fitted")[1]
    assert from_preset["parameters"]["flop_efficiency"]["prior"] == line["parameters"]["flop_efficiency"]["value"]


def test_tables_show_parameters_iterations_errors_and_what_was_excluded(sweep, capsys):
    text, line = calibrated(capsys, sweep)
    assert "excluded: 1 invalid: window_too_short (include=invalid fits them)" in text
    assert "all cells have one configuration, so none was left out" in text
    row = next(row.split() for row in text.splitlines() if "flop_efficiency" in row)
    one = line["parameters"]["flop_efficiency"]
    name, prior, value, standard_error, *determined = row
    assert (name, prior, " ".join(determined)) == ("flop_efficiency", "1", one["determined"])
    assert float(value) == pytest.approx(one["value"], rel=1e-3)
    assert float(standard_error) == pytest.approx(one["standard_error"], rel=0.05)
    assert "decode, 64 at 1000 tokens" in text
    assert "expert_flop_efficiency 0.355" in text


def test_invalid_cells_are_fitted_if_included(sweep, capsys):
    text, line = calibrated(capsys, sweep, "include=invalid")
    assert (line["cells"], line["excluded"]) == (2, {})
    assert "configuration left out" in text


def test_simulated_cells_are_refused_unless_included(sweep, tmp_path, capsys):
    root = changed(sweep, tmp_path, lambda record: record.update(simulated=True))
    assert main(["calibrate", str(root), "hardware=h200_sxm"]) == 2
    assert "1 simulated, not measured (include=simulated fits them)" in capsys.readouterr().err
    text, line = calibrated(capsys, root, "include=simulated")
    assert line["simulated"]
    assert "SIMULATED" in text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda cell: cell["hardware"].update(power_limit_w=400), "with a power limit or clock set"),
        (
            lambda cell: cell.update(
                roles={"coder": {"model": cell["model"], "engine": {**cell["engine"], "max_num_seqs": 4}}}
            ),
            "on several engines",
        ),
        (
            lambda cell: cell["hardware"]["calibration"].update(step_overhead_s=0),
            "step_overhead_s must be above 0 to be fitted",
        ),
    ],
    ids=["cap", "roles", "zero"],
)
def test_a_cell_that_cannot_be_fitted_is_named_with_the_reason(sweep, tmp_path, capsys, change, reason):
    root = changed(sweep, tmp_path, lambda record: change(record["cell"]))
    assert main(["calibrate", str(root), "hardware=h200_sxm"]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hardware=h200_sxm"], "takes one sweep or several"),
        (["{nowhere}", "hardware=h200_sxm"], "there is no sweep"),
        (["{sweep}"], "needs hardware=NAME"),
        (["{sweep}", "hardware=h2000"], "h200_sxm"),
        (["{sweep}", "hardware=cpu"], "hardware=cpu has no GPU"),
        (["{sweep}", "hardware=b200_sxm"], "on NVIDIA H200, not on NVIDIA B200"),
        (["{sweep}", "hardware=h200_sxm", "prior=h100"], "allowed: cells, preset"),
        (["{sweep}", "hardware=h200_sxm", "prior=cells,preset"], "prior takes one value"),
        (["{sweep}", "hardware=h200_sxm", "include=failed"], "allowed: invalid, simulated"),
        (["{sweep}", "hardware=h200_sxm", "write=x.txt"], "must end in .yaml"),
        (["{sweep}", "hardware=h200_sxm", "write={there}"], "exists"),
        (["{sweep}", "hardware=h200_sxm", "write=x.yaml", "include=simulated"], "write= needs measured cells"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(sweep, tmp_path, capsys, monkeypatch, arguments, message):
    there = tmp_path / "there.yaml"
    there.write_text("name: mine\n")
    monkeypatch.chdir(tmp_path)
    filled = [one.format(sweep=sweep, nowhere=tmp_path / "nowhere", there=there) for one in arguments]
    assert main(["calibrate", *filled]) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.yaml"]
    assert there.read_text() == "name: mine\n"


def test_a_preset_that_cannot_be_written_is_an_error_of_the_environment(sweep, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "fitted.yaml"
    assert main(["calibrate", str(sweep), "hardware=h200_sxm", f"write={target}"]) == 3
    assert f"{target} cannot be written" in capsys.readouterr().err


def test_help_names_the_options(capsys):
    assert main(["calibrate", "--help"]) == 0
    assert "usage: python -m orchestrator calibrate SWEEP … hardware=NAME" in capsys.readouterr().out
