"""The energy of a cell by tenant, by role (agent) of its workflows, and by step."""

import math
from dataclasses import dataclass

import pyarrow as pa

_GROUPS = ("tenant", "role", "step")
MAX_STEPS = 12
"""Maximum number of steps listed: those that used most energy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The energy of all requests of one tenant, role or step. Units: J."""

    group: str
    name: str
    n_requests: int
    prefill_j: float
    decode_j: float
    share: float

    @property
    def energy_j(self) -> float:
        """Return the energy of prefill and decode."""
        return self.prefill_j + self.decode_j

    @property
    def prefill_share(self) -> float:
        """Return the share of prefill in its own energy; NaN if it used none."""
        return self.prefill_j / self.energy_j if self.energy_j > 0 else math.nan


def spent_by(requests: pa.Table) -> tuple[Spent, ...]:
    """Return energies by tenant, role and step, the largest first, without groups of a single name.

    Empty if the energy of any request is not known.
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
    spent = [
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
    spent.sort(key=lambda one: (-one.energy_j, one.name))
    return spent[:MAX_STEPS] if group == "step" else spent
