"""Iterations anybody can picture, as a fit has them: their time and power are known better than each coefficient."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.h200.fit_jackknife import standard_error
from orchestrator.costmodel.cost import CostModel
from orchestrator.costmodel.work import Batch
from orchestrator.spec.hardware import HardwareSpec
from orchestrator.spec.model import ModelSpec

_CONTEXT_TOKENS = 1000


def _decode(n_sequences: int) -> Batch:
    read = n_sequences * _CONTEXT_TOKENS
    return Batch(n_tokens=n_sequences, n_sampled=n_sequences, context_tokens=read, n_pairs=read)


def _prompt(n_tokens: int) -> Batch:
    pairs = n_tokens * (n_tokens + 1) // 2
    return Batch(
        n_tokens=n_tokens,
        n_sampled=1,
        context_tokens=n_tokens,
        n_pairs=pairs,
        prefill_pairs=pairs,
        has_prefill=True,
    )


_STEPS: Mapping[str, Batch] = {
    **{f"decode, {n} at {_CONTEXT_TOKENS:,} tokens": _decode(n) for n in (1, 16, 64, 256)},
    **{f"a prompt of {n:,} tokens": _prompt(n) for n in (512, 4096)},
}


def steps_plain(
    model: ModelSpec, n_gpus: int, assumed: HardwareSpec, fitted: HardwareSpec, others: Sequence[HardwareSpec]
) -> list[dict[str, Any]]:
    """Time and power of iterations of a model; ``others`` are the fits that each leave a configuration out."""
    found = []
    for name, batch in _STEPS.items():
        before, after = (_time_and_power(model, n_gpus, gpu, batch) for gpu in (assumed, fitted))
        spread = [_time_and_power(model, n_gpus, gpu, batch) for gpu in others]
        row: dict[str, Any] = {"step": name}
        for at, quantity in enumerate(("time_ms", "power_w")):
            error = float(f"{standard_error([one[at] for one in spread]):.2g}")
            row[quantity] = {"assumed": before[at], "fitted": after[at], "standard_error": error}
        found.append(row)
    return found


def _time_and_power(model: ModelSpec, n_gpus: int, hardware: HardwareSpec, batch: Batch) -> tuple[float, float]:
    """Units: ms, W of all GPUs."""
    cost = CostModel(model, hardware, n_gpus).cost(batch)
    time_s = cost.time_s(batch.context_tokens)
    return time_s * 1e3, cost.energy_j(batch) / time_s
