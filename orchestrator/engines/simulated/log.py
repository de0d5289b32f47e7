"""Runs of equal iterations: their times and energies, and their rows in the series of the engine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from orchestrator.costmodel.cost import IterationCost
from orchestrator.engines.simulated.decode_group import DecodeGroup
from orchestrator.engines.simulated.kv_cache import KvCache
from orchestrator.engines.simulated.scheduler import Step
from orchestrator.records.series import ITERATIONS, SCHEDULED


@dataclass(slots=True, kw_only=True)
class Run:
    """``n_iterations`` iterations of one step; in each the context is ``n_decoding`` tokens longer than in the last."""

    start_s: float
    step: Step
    cost: IterationCost
    n_iterations: int
    context_tokens: int
    energy_j: float = 0.0
    prefill_energy_j: float = 0.0
    decode_energy_j: float = 0.0
    n_sampled: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_sampled = self.step.n_decoding + sum(chunk.samples for chunk in self.step.chunks)

    @property
    def end_s(self) -> float:
        """End of the last iteration. Units: s."""
        return self.end_of(self.n_iterations)

    @property
    def n_scheduled(self) -> int:
        """Sequences in each iteration."""
        return self.step.n_decoding + len(self.step.chunks)

    def end_of(self, iteration: int) -> float:
        """Return the end of an iteration, counted from 1. Units: s."""
        return self.start_s + self._time_s(iteration)

    def cut(self, now_s: float) -> bool:
        """End the run with the iteration in flight at ``now_s``; return whether this shortens the run."""
        first_s = self.cost.time_s(self.context_tokens)
        growth_s = self.cost.context_s * self.step.n_decoding
        linear_s = first_s - growth_s / 2
        elapsed_s = max(0.0, now_s - self.start_s)
        # The positive root of growth/2 n² + linear n = elapsed, in the form without cancellation.
        n = math.ceil(2 * elapsed_s / (linear_s + math.sqrt(linear_s * linear_s + 2 * growth_s * elapsed_s)))
        while n > 1 and self.end_of(n - 1) >= now_s:
            n -= 1
        while n < 1 or self.end_of(n) < now_s:
            n += 1
        if n >= self.n_iterations:
            return False
        self.n_iterations = n
        return True

    def charge(self, decoding: DecodeGroup) -> None:
        """Divide the energy among the sequences: the shared part equally, the rest by their tokens and context."""
        cost, n_decoding, n = self.cost, self.step.n_decoding, self.n_iterations
        share_j = cost.shared_j(self._time_s(n), n) / self.n_scheduled
        own_j = share_j + n * (cost.token_j + cost.sample_j)
        context_j = cost.context_j + cost.pair_j
        for chunk in self.step.chunks:
            energy_j = (
                share_j
                + cost.token_j * chunk.n_tokens
                + cost.sample_j * chunk.samples
                + cost.context_j * chunk.end
                + cost.pair_j * chunk.n_pairs
            )
            chunk.sequence.prefill_energy_j += energy_j
            self.prefill_energy_j += energy_j
        if n_decoding:
            first = decoding.context_tokens
            self.decode_energy_j = n_decoding * own_j + context_j * (n * first + n_decoding * n * (n - 1) / 2)
            decoding.charge(n, own_j, context_j)
        self.energy_j = self.prefill_energy_j + self.decode_energy_j

    def _time_s(self, n: int) -> float:
        context = n * self.context_tokens + self.step.n_decoding * n * (n - 1) / 2
        return n * self.cost.fixed_s + self.cost.context_s * context


class IterationLog:
    """The series ``iterations``: one row per run, with times relative to ``origin_s``."""

    def __init__(self, cache: KvCache, origin_s: float) -> None:
        self._cache = cache
        self._origin_s = origin_s
        self._rows: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, run: Run, n_continued: int) -> None:
        """Add a complete run; call it before blocks of ended sequences are freed."""
        step = run.step
        self._rows.append(
            (
                run.start_s - self._origin_s,
                run.end_s - self._origin_s,
                run.n_iterations,
                run.n_scheduled,
                step.n_waiting,
                sum(chunk.n_tokens for chunk in step.chunks),
                run.n_sampled * run.n_iterations,
                n_continued,
                1 - self._cache.n_free / self._cache.n_blocks,
                float(run.cost.sm_clock_mhz),
                run.cost.power_capped,
                run.energy_j,
                run.prefill_energy_j,
                run.decode_energy_j,
                None,
            )
        )

    def table(self) -> pa.Table:
        """Return the rows so far, with the schema `orchestrator.records.series.ITERATIONS`."""
        return _table(self._rows, ITERATIONS)


class ScheduledLog:
    """The series ``scheduled``: one row per sequence of each run. Its cost grows with the batch, so it is optional."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, str, int, int, int]] = []

    def add(self, row: int, run: Run, decoding: DecodeGroup) -> None:
        """Add a complete run, which is row ``row`` of the iterations; call it before `DecodeGroup.advance`."""
        for chunk in run.step.chunks:
            self._rows.append((row, chunk.sequence.request_id, chunk.n_tokens, int(chunk.samples), chunk.start))
        n = run.n_iterations
        self._rows += [(row, sequence.request_id, 0, n, computed) for sequence, computed in decoding.computed()]

    def table(self) -> pa.Table:
        """Return the rows so far, with the schema `orchestrator.records.series.SCHEDULED`."""
        return _table(self._rows, SCHEDULED)


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
