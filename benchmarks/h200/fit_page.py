"""The section of docs/h200.md on the fitted preset, from what a fit kept."""

from collections.abc import Mapping
from typing import Any

from benchmarks.h200.fit_error import LEFT_OUT, METRICS, WORKFLOW_LEFT_OUT

_HEADS = ("median ITL", "output throughput", "average power", "J per output token", "median TTFT")
_WHOSE = {
    LEFT_OUT: "fitted on the other configurations",
    WORKFLOW_LEFT_OUT: "fitted on the other workflows",
    "present": "the preset before the fit",
    "h100": "H100's coefficients",
}

_ASYNCHRONOUS = (
    "The simulator does not follow asynchronous scheduling ([simulation.md](simulation.md)): where the engine plans an "
    "iteration ahead, a prompt waits one longer than it says, so its TTFT is too low."
)


def fit_section(found: Mapping[str, Any]) -> str:
    """Coefficients, errors and what was held, as Markdown."""
    return "\n\n".join((_head(found), _coefficients(found), _steps(found), _errors(found), _cells(found), _rest(found)))


def _head(found: Mapping[str, Any]) -> str:
    of = "; ".join(f"{name} {', '.join(values)}" for name, values in found["of_records"].items())
    return (
        f"Fitted on {found['n_cells']} cells of {found['n_configurations']} configurations "
        f"({found['n_cells_with_power']} with measured energy) of {', '.join(f'`{one}`' for one in found['sweeps'])} "
        f"by `python -m benchmarks.h200.fit`, {found['date']}. The records' own: {of or 'nothing'}.\n\n"
        "Step times come from the spacing of iterations' ends, power from the energy counter between readings a second "
        "apart. A coefficient is the maximum of a posterior around the assumed value, so one that these cells do not "
        "tell stays there. Its standard error is the larger of what the posterior leaves open and of what the fits "
        "without one configuration each spread (jackknife)."
    )


def _coefficients(found: Mapping[str, Any]) -> str:
    rows = [
        f"| `{name}` | {one['assumed']:.4g} | {one['value']:.4g} ± {one['standard_error']:.2g}"
        f"{' (at its limit)' if one['at_limit'] else ''} | {one['determined']} |"
        for name, one in found["coefficients"].items()
    ]
    idle = found["idle_power_w"]
    told = f"median of {idle['cells']} cells" if idle["cells"] else "held: no cell told it"
    rows.append(f"| `idle_power_w` | {idle['assumed']:.4g} | {idle['value']:.4g} | {told} |")
    return "\n".join(["| coefficient | assumed | fitted | determined by the data |", "|---|---|---|---|", *rows])


def _steps(found: Mapping[str, Any]) -> str:
    rows = [
        f"| {row['step']} | "
        + " | ".join(
            f"{one['assumed']:.4g} | {one['fitted']:.4g} ± {one['standard_error']:.2g}"
            for one in (row["time_ms"], row["power_w"])
        )
        + " |"
        for row in found["steps"]
    ]
    head = [
        f"Coefficients that act together are told apart less well than what they give together; {found['steps_of']}, "
        "one iteration (± of the jackknife alone):",
        "",
        "| iteration | assumed, ms | fitted, ms | assumed, W | fitted, W |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows])


def _errors(found: Mapping[str, Any]) -> str:
    rows = [
        f"| {_WHOSE.get(name, name)} | " + " | ".join(_both(errors.get(metric)) for metric in METRICS) + " |"
        for name, errors in sorted(found["errors"].items(), key=lambda pair: list(_WHOSE).index(pair[0]))
    ]
    first = (
        "The first row is leave-one-configuration-out: no cell was predicted by a fit that saw it or a repeat of it."
        if LEFT_OUT in found["errors"]
        else "There is one configuration, so none could be left out: how good the fit is is not known."
    )
    head = [
        "The same cells on the simulated engine, predicted over measured less one: mean absolute error over cells, and "
        f"the worst in brackets. {first}",
        "",
        "| coefficients | " + " | ".join(_HEADS) + " |",
        "|---" * (len(_HEADS) + 1) + "|",
    ]
    return "\n".join([*head, *rows, "", _ASYNCHRONOUS])


def _both(error: Mapping[str, float] | None) -> str:
    return "—" if error is None else f"{100 * error['mean_absolute']:.1f} % ({100 * error['worst']:+.0f} %)"


def _cells(found: Mapping[str, Any]) -> str:
    rows = [
        f"| {cell['label']} | "
        + " | ".join(_one(cell["errors"].get(LEFT_OUT, {}).get(name)) for name in METRICS)
        + " |"
        for cell in found["cells"]
    ]
    head = ["Cell by cell, left out of its fit:", "", "| cell | " + " | ".join(_HEADS) + " |"]
    return "\n".join([*head, "|---" * (len(_HEADS) + 1) + "|", *rows])


def _one(error: float | None) -> str:
    return "—" if error is None else f"{100 * error:+.1f} %"


def _rest(found: Mapping[str, Any]) -> str:
    held = ", ".join(f"`{name}` {value:.4g}" for name, value in found["held"].items())
    lines = [
        f"Held, as no cell depends on them: {held}. The sensor was taken to tell {found['sensor_lag_s']:g} s late."
    ]
    most = max(found["cells"], key=lambda cell: cell["stalled_share"])
    lines.append(
        "Iterations that took three times the median of those alike count as stalls of the host and are left out of "
        f"the times: at most {100 * most['stalled_share']:.2g} % of a cell's time ({most['label']})."
    )
    lines.append(f"Where the form of the model does not hold, within the fit on all cells: {_misfits(found)}.")
    if found["left_out"]:
        whys = "; ".join(f"{one['cell']} {one['why']}" for one in found["left_out"])
        lines.append(f"Left out: {whys}.")
    return "\n\n".join(lines)


def _misfits(found: Mapping[str, Any]) -> str:
    names = {
        "decode_time": "the time of iterations that only decode is",
        "prefill_time": "of those with a prompt",
        "energy": "energy between readings",
    }
    told = []
    for key, name in names.items():
        values = [(cell["misfit"][key], cell["label"]) for cell in found["cells"] if key in cell["misfit"]]
        if values:
            mean, worst = sum(abs(value) for value, _ in values) / len(values), max(values, key=lambda one: abs(one[0]))
            told.append(f"{name} {100 * mean:.1f} % off (worst {100 * worst[0]:+.1f} %, {worst[1]})")
    return "; ".join(told)
