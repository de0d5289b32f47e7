"""How often the 95 % interval of repeats that a stop rule has ended holds the mean.

``python -m benchmarks.stop_rule_coverage`` prints what docs/method.md says of it.

Looking after every repeat and ending when the interval happens to be narrow favours samples that scatter too little, so
the interval at the end holds the mean less often than its level says. This plays many sweeps on drawn repeats.
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
"""Standard deviation of a repeat over the half-width that is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Repeats until the end, and whether the interval then holds the mean; shape (sweeps,)."""

    n: npt.NDArray[np.int64]
    holds: npt.NDArray[np.bool_]


def play(values: Floats, mean: float, *, min_repeats: int, half_width_ratio: float) -> Ended:
    """End every sweep as `orchestrator.spec.settings.StopRule` does, at the last repeat if never.

    Args:
        values: of the metric, shape (sweeps, repeats).
        mean: what they are drawn around.
        min_repeats: of the rule.
        half_width_ratio: of the rule.
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
    """Repeats around 1; normal, or lognormal of a shape that latencies may have (skewness about 1)."""
    draw = np.random.default_rng(seed)
    deviation, shape = scatter * HALF_WIDTH_RATIO, (n_sweeps, MAX_REPEATS)
    if not skewed:
        return 1 + deviation * draw.standard_normal(shape)
    sigma = 0.315
    found = draw.lognormal(0.0, sigma, shape)
    middle, width = np.exp(sigma**2 / 2), np.exp(sigma**2 / 2) * np.sqrt(np.expm1(sigma**2))
    return 1 + deviation * (found - middle) / width


def table(n_sweeps: int, *, skewed: bool) -> Iterator[str]:
    """Markdown: coverage by the least number of repeats and by how much repeats scatter."""
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
    """Print both tables; in brackets how many repeats were run on average."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=40_000, help="drawn for every entry")
    n_sweeps = parser.parse_args().sweeps
    for skewed in (False, True):
        sys.stdout.write(f"\n{'lognormal' if skewed else 'normal'} repeats\n\n")
        sys.stdout.write("\n".join(table(n_sweeps, skewed=skewed)) + "\n")


if __name__ == "__main__":
    main()
