"""Who used the energy of a cell: its tenants, the roles (agents) of its workflows, and their steps."""

import math
from dataclasses import dataclass

import pyarrow as pa

_GROUPS = ("tenant", "role", "step")
MAX_STEPS = 12
"""So many steps of a workflow are told apart, those that used most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What all requests of a tenant, role or step used. Units: J."""

    group: str
    name: str
    n_requests: int
    prefill_j: float
    decode_j: float
    share: float

    @property
    def energy_j(self) -> float:
        """Of prefill and decode."""
        return self.prefill_j + self.decode_j

    @property
    def prefill_share(self) -> float:
        """Of its own energy; NaN where it used none."""
        return self.prefill_j / self.energy_j if self.energy_j > 0 else math.nan


def spent_by(requests: pa.Table) -> tuple[Spent, ...]:
    """By tenant, role and step, the largest first; a group of one name alone is left out.

    Empty where the energy of a request is not known.
    """
    energies = [requests.column(name) for name in ("prefill_energy_j", "decode_energy_j")]
    if requests.num_rows == 0 or any(column.null_count for column in energies):
        return ()
    return tuple(spent for group in _GROUPS for spent in _of_group(requests, group))


def _of_group(requests: pa.Table, group: str) -> list[Spent]:
    sums = [("prefill_energy_j", "sum"), ("decode_energy_j", "sum"), ("request_id", "count")]
    rows = requests.group_by(group).aggregate(sums).to_pylist()
    total_j = sum(row["prefill_energy_j_sum"] + row["decode_energy_j_sum"] for row in rows)
    if len(rows) < 2 or total_j <= 0:
        return []
    found = [
        Spent(
            group=group,
            name=row[group],
            n_requests=row["request_id_count"],
            prefill_j=row["prefill_energy_j_sum"],
            decode_j=row["decode_energy_j_sum"],
            share=(row["prefill_energy_j_sum"] + row["decode_energy_j_sum"]) / total_j,
        )
        for row in rows
    ]
    found.sort(key=lambda spent: (-spent.energy_j, spent.name))
    return found[:MAX_STEPS] if group == "step" else found
