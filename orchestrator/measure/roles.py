"""What each role (agent) of a cell's workflows used, as ``role/<role>/<metric>``; a cell with one role has none."""

import re

import numpy as np

from orchestrator.measure.columns import Columns
from orchestrator.measure.window import Window

PREFIX = "role/"
_METRIC = "attributed_energy_j_per_workflow"


def role_metrics(requests: Columns, window: Window) -> dict[str, float]:
    """Attributed energy of each role's requests in the workflows that finished in the window, per such workflow.

    Workflows without the role count, too, so that the roles' energies add up to the cell's. Absent where energy was not
    attributed.
    """
    roles = requests.strings("role").astype(str)
    if len(np.unique(roles)) < 2:
        return {}
    workflows, index = np.unique(requests.strings("workflow_id").astype(str), return_inverse=True)
    answered_s = np.full(len(workflows), -np.inf)
    np.maximum.at(answered_s, index, requests.floats("finished_s"))
    inside = window.holds(answered_s)
    counted = inside[index]
    energy_j = requests.floats("prefill_energy_j") + requests.floats("decode_energy_j")
    if not inside.any() or np.isnan(energy_j[counted]).any():
        return {}
    return {
        role_key(role): float(energy_j[counted & (roles == role)].sum() / inside.sum())
        for role in sorted(set(roles[counted]))
    }


def role_key(role: str) -> str:
    """The key of a role's energy; in its name only what MLflow and column names allow is kept."""
    return f"{PREFIX}{re.sub(r'[^A-Za-z0-9_-]', '_', role)}/{_METRIC}"
