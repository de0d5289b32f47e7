"""A summary of a fit as people read it: notes, and tables of parameters, iterations and errors."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.calibrate.errors import CONFIGURATION_LEFT_OUT, METRICS, PRIOR, WORKFLOW_LEFT_OUT

_KINDS = {
    CONFIGURATION_LEFT_OUT: "configuration left out",
    WORKFLOW_LEFT_OUT: "workflow left out",
    PRIOR: "prior",
}
_MISFITS = {
    "decode_time": "time of iterations that only decode",
    "prefill_time": "time of iterations with a prompt",
    "energy": "energy of busy intervals",
}


def show(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the head, the parameters, typical iterations, and the errors."""
    for line in _head(summary):
        console.print(line, markup=False, soft_wrap=True)
    _print(console, "Parameters", _parameters(summary))
    _print(console, f"Iterations of {summary['iterations'][0]['model']}", _iterations(summary))
    _print(console, "Error of predicted cells: mean absolute (worst)", _errors(summary))
    for line in _tail(summary):
        console.print(line, markup=False, soft_wrap=True)


def _print(console: Console, title: str, table: Table) -> None:
    console.print(title, style="bold", markup=False)
    console.print(table)


def _head(summary: Mapping[str, Any]) -> Iterator[str]:
    yield f"sweeps: {', '.join(summary['sweeps'])}"
    yield (
        f"{summary['gpu']}: {summary['cells']} cells of {summary['configurations']} configurations, "
        f"{summary['cells_with_power']} with measured power"
    )
    if summary["simulated"]:
        yield "SIMULATED: some cells were computed, not measured; the result describes the simulator, not a GPU"
    for reason, n in summary["excluded"].items():
        yield f"excluded: {n} {reason}"
    for name, values in summary["provenance"].items():
        if len(values) > 1:
            yield f"note: the cells differ in {name}: {', '.join(values)}"
    if summary["preset_differs"]:
        names = ", ".join(summary["preset_differs"])
        yield f"note: the prior is what the cells were planned with; hardware={summary['hardware']} differs in {names}"


def _parameters(summary: Mapping[str, Any]) -> Table:
    table = _table("parameter", "prior", "fitted", "standard error", "determined by the data", text_columns=(0, 4))
    for name, one in summary["parameters"].items():
        limit = ", at its limit" if one["at_limit"] else ""
        determined = f"{one['determined']}{limit}"
        table.add_row(name, _number(one["prior"]), _number(one["value"]), _number(one["standard_error"], 2), determined)
    idle = summary["idle_power_w"]
    source = f"median of {idle['cells']} cells" if idle["cells"] else "not measured, prior kept"
    table.add_row("idle_power_w", _number(idle["prior"]), _number(idle["value"]), "", source)
    return table


def _iterations(summary: Mapping[str, Any]) -> Table:
    table = _table("iteration", "prior, ms", "fitted, ms", "prior, W", "fitted, W")
    for row in summary["iterations"]:
        cells = []
        for one in (row["time_ms"], row["power_w"]):
            error = f" ± {_number(one['standard_error'], 2)}" if one["standard_error"] else ""
            cells += [_number(one["prior"]), f"{_number(one['value'])}{error}"]
        table.add_row(row["iteration"], *cells)
    return table


def _errors(summary: Mapping[str, Any]) -> Table:
    errors = summary["errors"]
    metrics = [name for name in METRICS if any(name in errors[kind] for kind in errors)]
    table = _table("fit", *(METRICS[name] for name in metrics))
    for kind, title in _KINDS.items():
        if kind in errors:
            table.add_row(title, *(_error(errors[kind].get(name)) for name in metrics))
    return table


def _tail(summary: Mapping[str, Any]) -> Iterator[str]:
    if CONFIGURATION_LEFT_OUT not in summary["errors"]:
        yield "note: all cells have one configuration, so none was left out: the error of the fit is unknown"
    for key, name in _MISFITS.items():
        cells = [cell for cell in summary["by_cell"] if key in cell["misfit"]]
        if cells:
            worst = max(cells, key=lambda cell: abs(cell["misfit"][key]))
            mean = sum(abs(cell["misfit"][key]) for cell in cells) / len(cells)
            yield f"misfit, {name}: {100 * mean:.1f} %, worst {100 * worst['misfit'][key]:+.1f} % ({worst['label']})"
    stalled = max(summary["by_cell"], key=lambda cell: cell["stalled_share"])
    if stalled["stalled_share"]:
        share = 100 * stalled["stalled_share"]
        yield f"stalls of the host, not fitted: at most {share:.2g} % of a cell's time ({stalled['label']})"
    if summary["cells_with_power"]:
        yield f"delay of the power sensor: {summary['sensor_lag_s']:g} s"
    yield f"not fitted: {', '.join(f'{name} {_number(value)}' for name, value in summary['held'].items())}"


def _table(*names: str, text_columns: tuple[int, ...] = (0,)) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for at, name in enumerate(names):
        table.add_column(name, justify="left" if at in text_columns else "right", no_wrap=at == 0)
    return table


def _number(value: float, digits: int = 4) -> str:
    return f"{float(f'{value:.{digits}g}'):g}"


def _error(error: Mapping[str, float] | None) -> str:
    return "" if error is None else f"{100 * error['mean_absolute']:.1f} % ({100 * error['worst']:+.1f} %)"
