"""What one contender reports: how many trivial cells it ended, and how fast."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """``cells_per_s`` counts from the first end of a cell to the last, without start-up; ``wall_s`` is all."""

    n_cells: int
    cells_per_s: float
    wall_s: float


def rate_of(ends_s: Sequence[float], began_s: float, ended_s: float) -> Rate:
    """The rate of cells that ended at ``ends_s``. Units: s, on any one clock."""
    return Rate(len(ends_s), (len(ends_s) - 1) / (max(ends_s) - min(ends_s)), ended_s - began_s)


def tell(rate: Rate) -> None:
    """The last line on standard output of a contender's process."""
    sys.stdout.write(json.dumps(asdict(rate)) + "\n")


def told(output: str) -> Rate:
    """Read what `tell` wrote."""
    return Rate(**json.loads(output.strip().splitlines()[-1]))
