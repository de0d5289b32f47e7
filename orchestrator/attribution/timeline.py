"""Sums over iterations up to any instant: what lies between two times of a sensor."""

import numpy as np

from orchestrator.measure.columns import Floats


class Timeline:
    """Amounts that runs spread evenly over their time; nothing happens between runs."""

    def __init__(self, start_s: Floats, end_s: Floats, amounts: Floats) -> None:
        """Runs in order, none beginning before the last has ended; ``amounts`` has a row for each."""
        self._knots_s = np.stack([start_s, end_s], axis=1).ravel()
        total = np.concatenate([np.zeros((1, amounts.shape[1])), np.cumsum(amounts, axis=0)])
        self._totals = np.repeat(total, 2, axis=0)[1:-1]

    def until(self, t_s: Floats) -> Floats:
        """Amounts up to each time; shape (times, amounts)."""
        columns = [np.interp(t_s, self._knots_s, column) for column in self._totals.T]
        return np.stack(columns, axis=1)

    def between(self, edges_s: Floats) -> Floats:
        """Amounts between neighbouring edges; shape (edges - 1, amounts)."""
        return np.diff(self.until(edges_s), axis=0)
