"""How far a result would move with other cells, from fits that each leave one configuration out."""

import math
from collections.abc import Sequence


def standard_error(left_out: Sequence[float]) -> float:
    """The jackknife's; 0 where there are not two values. In the unit of these."""
    n = len(left_out)
    if n < 2:
        return 0.0
    mean = sum(left_out) / n
    return math.sqrt((n - 1) / n * sum((value - mean) ** 2 for value in left_out))
