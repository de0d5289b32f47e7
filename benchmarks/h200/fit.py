"""``python -m benchmarks.h200.fit SWEEP_FOLDER... [--write]``: a GPU's preset from cells measured on it, and its error.

Times are fitted on iterations, power on energies between readings of the counter, near the preset the cells were
planned with. Every cell is then simulated with a fit on the other configurations, with that preset and with H100's
coefficients. ``--write`` puts the result into the preset.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.h200.fit_cells import Measured, Wanted, read_cells
from benchmarks.h200.fit_error import judged
from benchmarks.h200.fit_found import calibration_names, error_line, found_plain, source_text
from benchmarks.h200.fit_gpu import fitted_coefficients, fitted_gpu
from benchmarks.h200.fit_preset import PRESETS, difference, preset_text, read_preset
from orchestrator.errors import JoulegridError, UserError
from orchestrator.spec.hardware import HardwareSpec

OUT = Path(__file__).parents[1] / "data" / "h200" / "fit.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, judge, keep."""
    given = parser().parse_args(arguments)
    try:
        found = fit(given)
    except JoulegridError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    _tell(found)
    try:
        _keep(given, found)
    except OSError as error:
        print(f"error: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        return 3
    return 0


def fit(given: argparse.Namespace) -> dict[str, Any]:
    """All that is found.

    Raises:
        JoulegridError: an argument is wrong, or the cells cannot be read or simulated.
    """
    began_s = time.monotonic()
    preset, h100 = read_preset(given.preset), read_preset(PRESETS / "h100_sxm.yaml")
    if given.write and given.with_simulated:
        raise UserError("--write: a preset is not written from simulated cells (--with-simulated)")
    if given.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {given.jobs}")
    wanted = Wanted(gpu=preset.name, with_invalid=given.with_invalid, with_simulated=given.with_simulated)
    cells, left_out = read_cells(given.sweeps, wanted)
    assumed = read_preset(given.assumed) if given.assumed is not None else _planned_with(cells)
    whole = fitted_gpu(cells, assumed)
    others = {
        "present": assumed,
        "h100": assumed.model_copy(update={"calibration": h100.calibration, "idle_power_w": h100.idle_power_w}),
    }
    errors = judged(cells, assumed, whole, others, given.jobs)
    found = found_plain(cells, left_out, assumed, whole, errors)
    moved = difference(assumed, preset)
    fitted = calibration_names(fitted_coefficients(cells))
    text = preset_text(given.preset.read_text(), whole.hardware, fitted, source_text(found))
    return {
        **found,
        "preset_text": text,
        "preset_differs_from_assumed": sorted(moved),
        "with_invalid": given.with_invalid,
        "with_simulated": given.with_simulated,
        "took_s": round(time.monotonic() - began_s, 1),
    }


def _planned_with(cells: Sequence[Measured]) -> HardwareSpec:
    """The GPU as the first of the cells was planned with it: before any fit on them."""
    first = min(cells, key=lambda cell: cell.started_unix_s).cell.hardware
    assert isinstance(first, HardwareSpec)
    return first


def _tell(found: dict[str, Any]) -> None:
    for one in found["left_out"]:
        print(f"left out: {one['sweep']} {one['cell']}: {one['why']}")
    if found["preset_differs_from_assumed"]:
        names = ", ".join(found["preset_differs_from_assumed"])
        print(f"note: assumed is what the first cell was planned with; the preset differs from it in {names}")
    for name, values in found["of_records"].items():
        if len(values) > 1:
            print(f"note: these cells are not alike, {name}: {', '.join(values)}")
    for name, one in found["coefficients"].items():
        told = f"assumed {one['assumed']:.4g}, {one['determined']} determined"
        print(f"{name}: {one['value']:.4g} ± {one['standard_error']:.2g} ({told})")
    for name, errors in found["errors"].items():
        print(f"{name}: {error_line(errors)}")
    print(f"{found['n_cells']} cells in {found['took_s']:g} s")
    print(found["calibration_yaml"], end="")


def _keep(given: argparse.Namespace, found: dict[str, Any]) -> None:
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    print(f"kept in {given.out}")
    if given.write:
        given.preset.write_text(found["preset_text"])
        print(f"written to {given.preset}; docs/simulation.md says of it that it is not measured")


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.h200.fit", description=__doc__)
    asked.add_argument(
        "sweeps", nargs="+", type=Path, metavar="SWEEP_FOLDER", help="a sweep: the folder of its sweep.json"
    )
    asked.add_argument("--out", type=Path, default=OUT, help="where the result goes")
    asked.add_argument("--preset", type=Path, default=PRESETS / "h200_sxm.yaml", help="of the GPU that is fitted")
    asked.add_argument(
        "--assumed", type=Path, help="a preset to stay near; by default what the first cell was planned with"
    )
    asked.add_argument("--with-invalid", action="store_true", help="fit on invalid cells, too")
    asked.add_argument("--with-simulated", action="store_true", help="take simulated cells for measured: a rehearsal")
    asked.add_argument("--jobs", type=int, default=2, help="processes that simulate")
    asked.add_argument("--write", action="store_true", help="put the result into the preset")
    return asked


if __name__ == "__main__":
    sys.exit(main())
