"""The result of one contender: how many trivial cells it ran, and how fast."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """Rate from the end of the first cell to the end of the last, without start-up; ``wall_s`` is the whole time."""

    n_cells: int
    cells_per_s: float
    wall_s: float


def rate_of(ends_s: Sequence[float], start_s: float, end_s: float) -> Rate:
    """Return the rate of cells that ended at ``ends_s``, all times on one clock. Units: s."""
    return Rate(len(ends_s), (len(ends_s) - 1) / (max(ends_s) - min(ends_s)), end_s - start_s)


def print_rate(rate: Rate) -> None:
    """Print the rate as the last line of a contender's process."""
    sys.stdout.write(json.dumps(asdict(rate)) + "\n")


def read_rate(output: str) -> Rate:
    """Return the rate that `print_rate` printed."""
    return Rate(**json.loads(output.strip().splitlines()[-1]))
