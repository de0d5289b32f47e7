"""Synthetic sweeps in the shape the report reads: real schemas, plain physics, known answers."""

import hashlib
import itertools
import math
from typing import Any

import pandas as pd
import pyarrow as pa

from orchestrator.records.record import CellRecord, Reason
from orchestrator.records.series import SCHEMAS, power_table
from orchestrator.report.view import SweepView

SHAPES = {
    # workflow: (prompt tokens, output tokens, steps as (name, role, parents), share of batching that helps)
    "chain_summary": (1100, 50, [(f"chunk{i}", "summarizer", [f"chunk{i - 1}"] if i else []) for i in range(8)], 0.15),
    "copilot": (6000, 400, [("answer", "copilot", [])], 0.95),
    "multi_agent_coding": (
        900,
        150,
        [("plan", "architect", [])]
        + [(f"code{i}", "coder", ["plan"]) for i in range(4)]
        + [(f"review{i}", "reviewer", [f"code{i}"]) for i in range(4)]
        + [("merge", "architect", [f"review{i}" for i in range(4)])],
        0.6,
    ),
    "composite": (1500, 200, [("search", "copilot", []), ("summary", "summarizer", ["search"])], 0.5),
}


PERCENTILES = {"mean": 1.05, "median": 1.0, "p90": 1.3, "p95": 1.45, "p99": 1.8}


def metrics_of(kind: str, batch: int, cap_w: float, repeat: int) -> dict[str, float]:
    """Metrics with the trends of a GPU: batching shares weights, a cap below the demand slows the clock."""
    prompt, output, steps, share = SHAPES[kind]
    attainable = 1 + (batch - 1) * share
    demand_w = 150 + 230 * (1 - math.exp(-attainable / 5))
    slow = max(1.0, (demand_w / cap_w) ** 0.6)
    wobble = 1 + 0.01 * math.sin(7 * repeat + batch)
    tpot_ms = (9 + 0.6 * attainable) * slow * wobble
    ttft_ms = prompt * 0.09 * slow * wobble + 3000 / attainable
    power_w = min(demand_w, cap_w)
    e2el_ms = ttft_ms + tpot_ms * (output - 1)
    workflow_ms = e2el_ms * max(1, len(steps) * 0.6)
    tokens_s = attainable / tpot_ms * 1000
    per_token_j = power_w / tokens_s
    total_j = per_token_j * output * len(steps) * 64
    values = {
        "total_gpu_energy_j": total_j,
        "gpu_energy_j_per_output_token": per_token_j,
        "gpu_energy_j_per_request": per_token_j * output,
        "gpu_energy_j_per_workflow": per_token_j * output * len(steps),
        "prefill_energy_j": total_j * 0.3,
        "decode_energy_j": total_j * 0.6,
        "idle_energy_j": total_j * 0.08,
        "avg_gpu_power_w": power_w,
        "peak_gpu_power_w": power_w * 1.05,
        "cap_bound_ratio": 0.0 if demand_w <= cap_w else min(1.0, 3 * (demand_w / cap_w - 1)),
        "output_throughput": tokens_s,
        "window_s": 60.0,
    }
    for latency, value in {"ttft": ttft_ms, "tpot": tpot_ms, "itl": tpot_ms, "e2el": e2el_ms}.items():
        values |= {f"{name}_{latency}_ms": value * factor for name, factor in PERCENTILES.items()}
    return values | {f"{name}_workflow_ms": workflow_ms * factor for name, factor in PERCENTILES.items()}


def series_of(kind: str, cap_w: float) -> dict[str, pa.Table]:
    """Sixty seconds of power and three workflows one after the other."""
    prompt, output, steps, _ = SHAPES[kind]
    times = [i * 0.02 for i in range(3500)]
    power = [60.0 if t < 4 or t > 66 else min(cap_w, 190 + 90 * math.sin(t) + 40 * math.sin(9 * t)) for t in times]
    energy = list(itertools.accumulate(p * 0.02 for p in power))
    requests, step_rows = [], []
    for index in range(3):
        start, done = 5.0 + 15 * index, {}
        for name, role, parents in steps:
            ready = max((done[parent] for parent in parents), default=start)
            scheduled = ready + 0.02 + 0.1 * (len(done) % 3)
            first, finish = scheduled + prompt * 1e-4, scheduled + prompt * 1e-4 + output * 0.012
            done[name] = finish
            key = f"w{index}-{name}"
            requests.append(
                {
                    "request_id": key,
                    "workflow_id": f"w{index}",
                    "tenant": "t0",
                    "step": name,
                    "role": role,
                    "prompt_tokens": prompt,
                }
                | {"cached_tokens": 0, "output_tokens": output, "n_preemptions": 0, "submitted_s": ready + 0.001}
                | {"scheduled_s": scheduled, "first_token_s": first, "finished_s": finish}
                | {"prefill_energy_j": 3.0, "decode_energy_j": 5.0}
            )
            step_rows.append(
                {
                    "workflow_id": f"w{index}",
                    "tenant": "t0",
                    "step": name,
                    "role": role,
                    "request_id": key,
                    "parents": parents,
                }
                | {"arrival_s": start, "ready_s": ready, "finished_s": finish}
            )
    columns = {"t_s": times, "device": ["SIM-0"] * len(times), "power_w": power, "energy_j": energy}
    return {
        "power": power_table(columns | {"sm_clock_mhz": [1410.0] * len(times)}),
        "requests": pa.Table.from_pylist(requests, schema=SCHEMAS["requests"]),
        "steps": pa.Table.from_pylist(step_rows, schema=SCHEMAS["steps"]),
    }


def row_of(kind: str, batch: int, cap_w: float, repeat: int = 0, **more: Any) -> dict[str, Any]:
    """One row of the frame of a cell that is ok."""
    text = f"{kind}-{batch}-{cap_w:g}-{repeat}"
    return {
        "cell_id": hashlib.sha256(text.encode()).hexdigest()[:12],
        "status": "ok",
        "simulated": True,
        "reasons": "",
        "repeat": repeat,
        "model.name": "meta-llama/Llama-3.1-8B",
        "model.max_position_embeddings": 131072,
        "model.max_model_len": 131072,
        "engine.kind": "simulated",
        "engine.max_num_seqs": batch,
        "hardware.name": "A100-SXM4-40GB",
        "hardware.num_gpus": 1,
        "hardware.default_power_limit_w": 400.0,
        "hardware.power_limit_w": cap_w,
        "workflow.kind": kind,
        "workflow.output_tokens": SHAPES[kind][1],
        "load.kind": "closed",
        "load.users": 16,
        **metrics_of(kind, batch, cap_w, repeat),
        **more,
    }


def view_of(rows: list[dict[str, Any]], **more: Any) -> SweepView:
    """A view over rows of `row_of`; series are made when asked for."""
    frame = pd.DataFrame(rows)
    by_id = {row["cell_id"]: row for row in rows}

    def record(cell_id: str) -> CellRecord:
        row = by_id[cell_id]
        return CellRecord(
            cell_id=cell_id,
            engine_key="e" * 12,
            status=row["status"],
            simulated=row["simulated"],
            reasons=(Reason(code="x", detail=row["reasons"], transient=False),) if row["reasons"] else (),
            cell={},
            window={"start_s": 6.0, "end_s": 64.0, "rule": "workflows"},
            provenance={"versions": {"joulegrid": "0.1.0", "python": "3.11"}},
            series=("power", "requests", "steps"),
        )

    def series(cell_id: str, name: str) -> pa.Table:
        row = by_id[cell_id]
        return series_of(row["workflow.kind"], row["hardware.power_limit_w"])[name]

    arguments: dict[str, Any] = {
        "sweep_id": "20261120-092200-batch_powercap",
        "name": "batch_powercap",
        "created": "2026-11-20 09:22 UTC",
        "overrides": ("+sweep=batch_powercap",),
        "swept": ("workflow", "engine.max_num_seqs", "hardware.power_limit_w"),
        "notes": ("engine=auto: simulated, because no node has an NVIDIA GPU",),
        "provenance": {"versions": {"joulegrid": "0.1.0", "python": "3.11"}, "host": "node-1"},
        "n_missing": 0,
        "frame": frame,
        "record": record,
        "series": series,
    }
    return SweepView(**(arguments | more))


def full_sweep(repeats: int = 1) -> SweepView:
    """Four workflows by five batch sizes by six caps, with one failed and one invalid cell."""
    grid = itertools.product(SHAPES, (1, 2, 4, 8, 16), (160.0, 200.0, 240.0, 280.0, 340.0, 400.0), range(repeats))
    rows = [row_of(*point) for point in grid]
    rows[3] |= {"status": "failed", "reasons": "engine: out of memory"}
    rows[40] |= {"status": "invalid", "reasons": "window_too_short: 4.1 s of 10 s"}
    return view_of(rows)
