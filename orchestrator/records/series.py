"""The raw series of a cell: Arrow schemas, one parquet file each. Columns carry their units.

Times are seconds on the cell's clock since the cell began; earlier samples have negative times. Every summary is a
pure function of these series.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collectors.source import CPU_POWER_COLUMNS, EVENT_COLUMNS, POWER_COLUMNS, PROCESS_COLUMNS

REQUESTS = pa.schema(
    [
        ("request_id", pa.string()),
        ("workflow_id", pa.string()),
        ("tenant", pa.string()),
        ("step", pa.string()),
        ("role", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),  # null if a server does not report it, as are preemptions
        ("output_tokens", pa.int64()),
        ("n_preemptions", pa.int64()),
        ("submitted_s", pa.float64()),
        ("scheduled_s", pa.float64()),
        ("first_token_s", pa.float64()),
        ("finished_s", pa.float64()),
        ("prefill_energy_j", pa.float64()),  # null if it cannot be attributed
        ("decode_energy_j", pa.float64()),
    ]
)

STEPS = pa.schema(
    [
        ("workflow_id", pa.string()),
        ("tenant", pa.string()),
        ("step", pa.string()),
        ("role", pa.string()),
        ("request_id", pa.string()),
        ("parents", pa.list_(pa.string())),
        ("arrival_s", pa.float64()),  # when the workflow was due; equal for all its steps
        ("ready_s", pa.float64()),  # when the last parent finished
        ("finished_s", pa.float64()),
    ]
)

ITERATIONS = pa.schema(
    [
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("n_iterations", pa.int64()),  # a run of equal iterations; 1 on a real engine
        ("n_running", pa.int64()),  # sequences scheduled in each iteration
        ("n_waiting", pa.int64()),
        ("prefill_tokens", pa.int64()),  # of the whole run
        ("decode_tokens", pa.int64()),  # tokens sampled in the whole run, first tokens included
        ("continued_tokens", pa.int64()),  # those that follow an earlier token, and so have an ITL
        ("kv_usage_ratio", pa.float64()),
        ("sm_clock_mhz", pa.float64()),  # null if not known
        ("power_capped", pa.bool_()),  # null if not known
        ("energy_j", pa.float64()),  # of all GPUs of the cell; null if the engine does not know it
        ("prefill_energy_j", pa.float64()),
        ("decode_energy_j", pa.float64()),
        ("record_cost_s", pa.float64()),  # time of the scheduler spent on recording; null if simulated
    ]
)

_SAMPLED_TYPES = {
    "device": pa.string(),  # GPU UUID, SIM-<index>, package-<n> or dram-<n>
    "clock_event_reasons": pa.int64(),
    "pid": pa.int64(),
    "kind": pa.string(),  # of `EventKind`, or ``shared``, which the monitor adds
    "detail": pa.string(),
}


def _sampled(columns: Sequence[str]) -> pa.Schema:
    """Return the schema of a sampled series; its columns are defined in `collectors.source`."""
    return pa.schema([(name, _SAMPLED_TYPES.get(name, pa.float64())) for name in columns])


POWER = _sampled(POWER_COLUMNS)
CPU_POWER = _sampled(CPU_POWER_COLUMNS)
GPU_PROCESSES = _sampled(PROCESS_COLUMNS).append(pa.field("own", pa.bool_()))
"""``own``: whether the pid is of the cell's engine; null if it is not visible in the PID namespace of the monitor."""
SENSOR_EVENTS = _sampled(EVENT_COLUMNS)

TOKENS = pa.schema(  # of engines that run in real time
    [
        ("request_id", pa.string()),
        ("t_s", pa.float64()),  # when the token arrived; equal for tokens that arrived together
    ]
)

SCHEDULED = pa.schema(  # tokens of each request in each iteration, if the scheduler reports them
    [
        ("iteration", pa.int64()),  # row of `ITERATIONS`, from 0
        ("request_id", pa.string()),
        ("prefill_tokens", pa.int64()),
        ("decode_tokens", pa.int64()),
        ("context_tokens", pa.int64()),  # of the request before this iteration
    ]
)

ENGINE_COLUMN = pa.field("engine", pa.string())
"""Last column of `ITERATIONS` and `SCHEDULED` if a cell has several engines: ``main``, or the roles of the engine."""

SCHEMAS = {
    "requests": REQUESTS,
    "steps": STEPS,
    "iterations": ITERATIONS,
    "power": POWER,
    "cpu_power": CPU_POWER,
    "gpu_processes": GPU_PROCESSES,
    "sensor_events": SENSOR_EVENTS,
    "tokens": TOKENS,
    "scheduled": SCHEDULED,
}


def by_engine(table: pa.Table) -> dict[str, pa.Table]:
    """Return the rows of each engine, by its name; all under ``main`` if there is no such column."""
    if ENGINE_COLUMN.name not in table.column_names:
        return {"main": table}
    names = table.column(ENGINE_COLUMN.name)
    return {str(name): table.filter(pc.equal(names, name)) for name in names.unique()}


def power_table(columns: Mapping[str, npt.ArrayLike]) -> pa.Table:
    """Return power samples of a source in the stored schema."""
    return sampled_table(columns, POWER)


def sampled_table(columns: Mapping[str, npt.ArrayLike], schema: pa.Schema) -> pa.Table:
    """Return samples in the stored schema; NaN and absent columns become nulls."""
    n_rows = len(np.asarray(columns["t_s"]))
    return pa.table(
        {
            field.name: pa.array(columns[field.name], field.type, from_pandas=True)
            if field.name in columns
            else pa.nulls(n_rows, field.type)
            for field in schema
        },
        schema=schema,
    )
