"""The recording of a power sensor as stored: samples in a parquet file, everything else in a JSON file.

Times are CLOCK_MONOTONIC, in s.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, Field

from orchestrator.errors import UserError
from orchestrator.measure.columns import Floats

SAMPLES_FILE, ABOUT_FILE, FIGURE_FILE = "sensor.parquet", "sensor.json", "sensor.png"
IDLE, IDLE_POLLED, CONTEXT, SAMPLER, STEP, WAVE = "idle", "idle_polled", "context", "sampler", "step", "wave"

SAMPLE_EVERY_S = 0.05
"""The default of ``collectors.period_s``."""

Series = tuple[Floats, Floats]
"""Times and values; shape (samples,) each."""


class Stage(BaseModel):
    """A span of the recording. ``edges_s``: when the load was switched on and off. Units: s."""

    start_s: float
    end_s: float
    edges_s: list[tuple[float, float]] = Field(default_factory=list)
    period_s: float | None = None
    """Time on and off of the load."""
    core_ratio: float | None = None
    """Of the sampler: CPU time over elapsed time."""


class Call(BaseModel):
    """Duration of the driver's call for one reading. Units: s."""

    median_s: float
    p99_s: float


class About(BaseModel):
    """Everything but the samples. ``gpu`` holds the facts of `collectors.nvml_devices.gpu_facts`."""

    date: str
    uuid: str
    gpu: dict[str, Any]
    versions: dict[str, str]
    calls: dict[str, Call] = Field(default_factory=dict)
    load: dict[str, Any] = Field(default_factory=dict)
    load_missing: str | None = None
    """Why the GPU was not loaded, or not to the end."""
    other_pids: list[int] = Field(default_factory=list)
    """Processes that used the GPU when the recording ended."""
    stages: dict[str, Stage] = Field(default_factory=dict)
    summary: dict[str, Any] | None = None
    """`summary.Summary`, once the recording is complete."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording; ``samples`` by stage and reading."""

    about: About
    samples: dict[tuple[str, str], Series] = field(default_factory=dict)

    def add(self, stage: str, polled: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]) -> None:
        """Add a stage's samples, by reading; drop missing values."""
        for reading, columns in polled.items():
            t_s, values = (np.asarray(column, np.float64) for column in columns)
            known = np.isfinite(values)
            self.samples[stage, reading] = (t_s[known], values[known])

    def series(self, stage: str, reading: str) -> Series:
        """Return one stage's samples; empty if there are none."""
        return self.samples.get((stage, reading), (np.empty(0), np.empty(0)))

    def spans(self, reading: str, *, loaded: bool = False) -> Iterator[Series]:
        """Yield the samples of each stage that was polled fast; ``loaded``: of those in which the load switched."""
        for name, stage in self.about.stages.items():
            if name not in (IDLE, SAMPLER) and (stage.edges_s or not loaded) and (name, reading) in self.samples:
                yield self.samples[name, reading]

    def write(self, folder: Path) -> None:
        """Write both files."""
        folder.mkdir(parents=True, exist_ok=True)
        lengths = [len(t_s) for t_s, _ in self.samples.values()]
        columns = {
            "stage": np.repeat([stage for stage, _ in self.samples], lengths),
            "reading": np.repeat([reading for _, reading in self.samples], lengths),
            "t_s": np.concatenate([t_s for t_s, _ in self.samples.values()]),
            "value": np.concatenate([values for _, values in self.samples.values()]),
        }
        pd.DataFrame(columns).to_parquet(folder / SAMPLES_FILE, compression="zstd")
        (folder / ABOUT_FILE).write_text(self.about.model_dump_json(indent=1) + "\n")


def read_recording(folder: Path) -> Recording:
    """Read a recording that `Recording.write` wrote.

    Raises:
        UserError: There is no recording in ``folder``.
    """
    if not (folder / ABOUT_FILE).is_file() or not (folder / SAMPLES_FILE).is_file():
        raise UserError(f"{folder} has no {ABOUT_FILE} and {SAMPLES_FILE}: `doctor sensor out={folder}` writes them")
    about = About.model_validate_json((folder / ABOUT_FILE).read_text())
    samples = {
        (str(stage), str(reading)): (rows["t_s"].to_numpy(float), rows["value"].to_numpy(float))
        for (stage, reading), rows in pd.read_parquet(folder / SAMPLES_FILE).groupby(["stage", "reading"], sort=False)
    }
    return Recording(about, samples)
