"""The arrival processes of a load: their options, how many workflows they take, and when those are due."""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from workflows.source import WorkflowSource


class _LoadOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClosedLoad(_LoadOptions):
    """``users`` users, each starting its next workflow when its last one has finished."""

    kind: Literal["closed"]
    users: int = Field(ge=1)
    num_workflows: int = Field(ge=1)
    think_time_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class PoissonLoad(_LoadOptions):
    """Workflows start at random gaps, on average ``request_rate`` workflows per second. Units: 1/s.

    Gaps are gamma distributed with the shape ``burstiness``, as in ``vllm bench serve``: 1 is a Poisson process, a
    smaller shape is burstier, a larger one is steadier. The squared coefficient of variation is 1 / ``burstiness``.
    """

    kind: Literal["poisson"]
    request_rate: float = Field(gt=0, allow_inf_nan=False)
    num_workflows: int = Field(ge=1)
    burstiness: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class ReplayLoad(_LoadOptions):
    """Workflows start at the recorded times of a trace, ``speedup`` times as fast; at most ``num_workflows``."""

    kind: Literal["replay"]
    speedup: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    num_workflows: int | None = Field(default=None, ge=1)


LoadOptions = Annotated[ClosedLoad | PoissonLoad | ReplayLoad, Field(discriminator="kind")]


def workflow_count(source: WorkflowSource, load: LoadOptions) -> int:
    """Return how many workflows a load takes from a source.

    Raises:
        ValueError: the source of a replay has no recorded arrivals, or a trace holds fewer workflows.
    """
    recorded = source.arrivals_s
    if isinstance(load, ClosedLoad | PoissonLoad):
        if recorded is not None and load.num_workflows > len(recorded):
            raise ValueError(f"load.num_workflows is {load.num_workflows}, but the trace holds {len(recorded)}")
        return load.num_workflows
    if recorded is None:
        raise ValueError(
            "load.kind=replay needs recorded arrivals; choose a trace workflow, or load=poisson or load=closed"
        )
    return len(recorded) if load.num_workflows is None else min(load.num_workflows, len(recorded))


def max_workflows(source: WorkflowSource, load: LoadOptions, max_repetitions: int) -> int:
    """Return how many workflows a repeated load takes at most; a trace bounds it to whole repetitions.

    Raises:
        ValueError: as `workflow_count`.
    """
    n_workflows, recorded = workflow_count(source, load), source.arrivals_s
    times = max_repetitions if recorded is None else min(max_repetitions, len(recorded) // max(1, n_workflows))
    return n_workflows * times


def arrivals(source: WorkflowSource, load: PoissonLoad | ReplayLoad, n: int, seed: int) -> list[float]:
    """Return when the first ``n`` workflows of an open loop are due, ascending; a larger ``n`` only adds. Units: s."""
    if isinstance(load, PoissonLoad):
        return gamma_arrivals(load.request_rate, load.burstiness, n, seed)
    times_s: list[float] = (np.asarray(source.arrivals_s, dtype=float)[:n] / load.speedup).tolist()
    return times_s


def gamma_arrivals(rate: float, burstiness: float, n: int, seed: int) -> list[float]:
    """Return the times of ``n`` events after 0 at gamma gaps of shape ``burstiness``; 1 is Poisson. Units: 1/s, s."""
    gaps_s = np.random.default_rng(seed).gamma(burstiness, 1.0 / (rate * burstiness), size=n)
    times_s: list[float] = np.cumsum(gaps_s).tolist()
    return times_s
