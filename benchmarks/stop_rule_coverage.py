"""``python -m benchmarks.stop_rule_coverage``: coverage of the 95 % interval when a stop rule ends the repeats.

A rule that is tested after every repeat tends to stop when the sample happens to scatter little, so the final interval
contains the mean less often than 95 %. This simulates many sweeps. docs/method.md states the results.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Floats = npt.NDArray[np.float64]

HALF_WIDTH_RATIO = 0.02
MAX_REPEATS = 30
LEAST = (2, 3, 4, 5, 6, 8, 10)
SCATTERS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5)
"""Standard deviation of a repeat divided by the required half-width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Number of repeats of each sweep, and whether its final interval contains the mean. Shape (sweeps,)."""

    n: npt.NDArray[np.int64]
    holds: npt.NDArray[np.bool_]


def play(values: Floats, mean: float, *, min_repeats: int, half_width_ratio: float) -> Ended:
    """Apply `orchestrator.spec.settings.StopRule` to every sweep; without a stop, all repeats run.

    Args:
        values: values of the metric, shape (sweeps, repeats).
        mean: mean of their distribution.
        min_repeats: setting of the rule.
        half_width_ratio: setting of the rule.
    """
    n = np.arange(1, values.shape[1] + 1)
    means = np.cumsum(values, axis=1) / n
    squares = np.cumsum((values - mean) ** 2, axis=1) - n * (means - mean) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        half = stdtrit(n - 1, 0.975) * np.sqrt(np.maximum(squares, 0) / (n - 1) / n)
    met = (half <= half_width_ratio * np.abs(means)) & (n >= min_repeats)
    met[:, -1] = True
    end = met.argmax(axis=1)
    row = np.arange(len(values))
    return Ended(n=end + 1, holds=np.abs(means - mean)[row, end] <= half[row, end])


def drawn(scatter: float, n_sweeps: int, seed: int, *, skewed: bool) -> Floats:
    """Draw repeats with mean 1: normal, or lognormal with a skewness of about 1, as latencies may have."""
    draw = np.random.default_rng(seed)
    deviation, shape = scatter * HALF_WIDTH_RATIO, (n_sweeps, MAX_REPEATS)
    if not skewed:
        return 1 + deviation * draw.standard_normal(shape)
    sigma = 0.315
    values = draw.lognormal(0.0, sigma, shape)
    middle, width = np.exp(sigma**2 / 2), np.exp(sigma**2 / 2) * np.sqrt(np.expm1(sigma**2))
    return 1 + deviation * (values - middle) / width


def table(n_sweeps: int, *, skewed: bool) -> Iterator[str]:
    """Yield a Markdown table of the coverage by minimum number of repeats and scatter."""
    yield "| `min_repeats` | " + " | ".join(f"{scatter:g}" for scatter in SCATTERS) + " | least |"
    yield "|---" * (len(SCATTERS) + 2) + "|"
    for least in LEAST:
        shares = []
        for index, scatter in enumerate(SCATTERS):
            ended = play(
                drawn(scatter, n_sweeps, index, skewed=skewed),
                1.0,
                min_repeats=least,
                half_width_ratio=HALF_WIDTH_RATIO,
            )
            shares.append((float(ended.holds.mean()), float(ended.n.mean())))
        cells = " | ".join(f"{100 * share:.1f} % ({n:.1f})" for share, n in shares)
        yield f"| {least} | {cells} | {100 * min(share for share, _ in shares):.1f} % |"


def main() -> None:
    """Print both tables; the mean number of repeats is in brackets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=40_000, help="sweeps for every entry")
    n_sweeps = parser.parse_args().sweeps
    for skewed in (False, True):
        sys.stdout.write(f"\n{'lognormal' if skewed else 'normal'} repeats\n\n")
        sys.stdout.write("\n".join(table(n_sweeps, skewed=skewed)) + "\n")


if __name__ == "__main__":
    main()
