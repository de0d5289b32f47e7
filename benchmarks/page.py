"""Write docs/benchmarks.md: the tables of one run."""

from dataclasses import dataclass
from statistics import median

from benchmarks.rate import Rate
from benchmarks.single_process import ComposeCost, Replay

_NAMES = {
    "joulegrid": "Joulegrid: Ray executor, every record durable, no tracking",
    "joulegrid_mlflow": "Joulegrid with MLflow (SQLite): until MLflow has all records (database created before)",
    "tune": "Ray Tune, `reuse_actors=True`, no loggers",
    "joblib": "Hydra with its joblib launcher",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """All measurements of a run; ``rates`` by contender, one entry per round."""

    machine: str
    n_workers: int
    rates: dict[str, list[Rate]]
    replays: dict[str, Replay]
    compose: ComposeCost


def page(measured: Measured) -> str:
    """Return the page as Markdown."""
    parts = (_head(measured), _overhead(measured), _replay(measured.replays), _compose(measured.compose))
    return "\n\n".join(parts) + "\n"


def _head(measured: Measured) -> str:
    return f"""# Benchmarks

`make bench` (`python -m benchmarks.run`) writes this page from one run on one machine. Compare the ratios, not the
absolute figures.

Machine: {measured.machine}.

Other pages: the client that sends the requests ([load_generator.md](load_generator.md)), and a lane compared with a
bare loop ([lanes.md](lanes.md#what-a-lane-costs))."""


def _overhead(measured: Measured) -> str:
    ours = median(rate.cells_per_s for rate in measured.rates["joulegrid"])
    rows = [_row(_NAMES[name], rates, ours) for name, rates in measured.rates.items()]
    n_workers, n_rounds = measured.n_workers, len(measured.rates["joulegrid"])
    pairs = zip(measured.rates["joulegrid"], measured.rates["tune"], strict=True)
    by_round = ", ".join(f"{one.cells_per_s / other.cells_per_s:.2g}" for one, other in pairs)
    return f"""## Overhead of a sweep

Each cell only squares a number. There are {n_workers} workers. The contenders take turns, in {n_rounds} rounds.
The rate is measured from the end of the first cell to the end of the last, as the median with the range in brackets.
The whole time includes start-up. *Ours over it* is the median of the first row divided by that of the row.

| | cells | cells/s | ours over it | whole time, s |
|---|---|---|---|---|
""" + "\n".join([*rows, "", f"Ours over Ray Tune, round by round: {by_round}."])


def _row(name: str, rates: list[Rate], ours: float) -> str:
    speeds = sorted(rate.cells_per_s for rate in rates)
    wall_s = median(rate.wall_s for rate in rates)
    middle = median(speeds)
    return (
        f"| {name} | {rates[0].n_cells} | {middle:.3g} ({speeds[0]:.3g} to {speeds[-1]:.3g}) | {ours / middle:.2g} | "
        f"{wall_s:.1f} |"
    )


def _replay(replays: dict[str, Replay]) -> str:
    rows = [
        f"| `{one.stepping}` | {one.n_requests:,} | {one.n_iterations:,} | {one.n_requests / one.wall_s:,.0f} | "
        f"{one.n_requests / one.cpu_s:,.0f} |"
        for one in replays.values()
    ]
    return """## The simulated engine

`workflow=trace_replay load=replay`: the whole Azure 2023 conversation trace (an hour). The time includes the engine and
the summary of the cell.

| `engine.stepping` | requests | iterations | requests/s | requests per CPU second |
|---|---|---|---|---|
""" + "\n".join(rows)


def _compose(cost: ComposeCost) -> str:
    return f"""## Composing a matrix

`+sweep=batch_powercap`, {cost.n_cells} cells: CPU time per cell of everything before the first cell starts.

| | ms per cell |
|---|---|
| Joulegrid's sweeper | {cost.expanded_ms:.1f} |
| the same, cells validated and identified | {cost.validated_ms:.1f} |
| `hydra.compose`, once per cell | {cost.hydra_ms:.1f} |"""
