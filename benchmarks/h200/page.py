"""``python -m benchmarks.h200.page``: the sections of docs/h200.md that come from what is kept, and nothing else."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.h200.bare import bare_section
from benchmarks.h200.kept import DATA
from benchmarks.h200.measured_page import measured_section
from benchmarks.h200.prediction_page import prediction_section
from benchmarks.section import write_section
from orchestrator.sensor.output import summary_text
from orchestrator.sensor.recording import About
from orchestrator.sensor.summary import Summary

PAGE = "h200.md"
CALIBRATION = "calibrate.txt"
"""Standard output of ``python -m orchestrator calibrate``, kept in `DATA`."""


def sensor_section(kept: Any) -> str:
    """Return the section on the power sensor, from the JSON file of `doctor sensor`."""
    about = About.model_validate(kept)
    load = "not loaded" if about.load_missing else f"matrix products at {about.load.get('tflops', 0.0):.0f} TFLOP/s"
    gpu = f"{about.gpu['name']}, driver {about.gpu['driver']}, {load}"
    text = summary_text(Summary.model_validate(about.summary))
    return f"`python -m orchestrator doctor sensor`, {about.date}: {gpu} ([sensor.md](sensor.md)).\n\n{text}"


_SECTIONS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("What is predicted", "prediction.json", prediction_section),
    ("The power sensor", "sensor.json", sensor_section),
    ("Beside a bare loop", "bare.json", bare_section),
)


def main() -> None:
    """Write what there is."""
    for heading, name, section in _SECTIONS:
        path = DATA / name
        if path.exists():
            write_section(PAGE, heading, section(json.loads(path.read_text())))
    if (DATA / "runs").is_dir():
        write_section(PAGE, "What was measured", measured_section(DATA))
    if (DATA / CALIBRATION).exists():
        write_section(PAGE, "The preset, fitted", calibration_section((DATA / CALIBRATION).read_text()))


def calibration_section(printed: str) -> str:
    """Return the tables that ``calibrate`` printed as Markdown, without its last line, which is JSON."""
    tables = "\n".join(line.rstrip() for line in printed.rstrip().splitlines()[:-1])
    return f"`python -m orchestrator calibrate` ([calibrate.md](calibrate.md)) printed:\n\n```\n{tables}\n```"


if __name__ == "__main__":
    main()
