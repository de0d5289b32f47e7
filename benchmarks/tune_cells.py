"""``python -m benchmarks.tune_cells N WORKERS``: trivial trials with Ray Tune in its fastest settings.

Actors are reused, loggers are off, nothing is printed.
"""

import os
import sys
import tempfile
import time
from typing import Any

from benchmarks.rate import Rate, print_rate, rate_of

os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_USAGE_STATS_ENABLED": "0"}

import ray
from ray import tune


class Trivial(tune.Trainable):  # type: ignore[misc]
    """Square a number, with the methods that `reuse_actors` needs."""

    def setup(self, config: dict[str, Any]) -> None:
        """Keep the trial's number."""
        self.x = config["x"]

    def step(self) -> dict[str, Any]:
        """Run the only step."""
        return {"score": float(self.x) ** 2, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over the next trial."""
        self.x = new_config["x"]
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing; without this method, trials on reused actors fail."""


class Ends(tune.Callback):  # type: ignore[misc]
    """Record when trials complete."""

    def __init__(self) -> None:
        self.ends_s: list[float] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the time."""
        self.ends_s.append(time.monotonic())


def measure(n_cells: int, n_workers: int, folder: str) -> Rate:
    """Run ``n_cells`` trivial trials with results below ``folder``."""
    start_s = time.monotonic()
    ray.init(num_cpus=n_workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ends = Ends()
    tuner = tune.Tuner(
        tune.with_resources(Trivial, {"cpu": 1}),
        param_space={"x": tune.grid_search(list(range(n_cells)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[ends]),
    )
    results = tuner.fit()
    assert len(results) == n_cells
    assert results.num_errors == 0
    ray.shutdown()
    return rate_of(ends.ends_s, start_s, time.monotonic())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print_rate(measure(int(sys.argv[1]), int(sys.argv[2]), scratch))
