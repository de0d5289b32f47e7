"""The table of a sweep's cells in MLflow's page: which runs, which columns, in which order; and its address.

MLflow keeps such a *saved view* as a tag of the experiment, under *Views* on the page of its runs. It is what its own
button writes; a version of MLflow that knows no saved views ignores the tag.
"""

import json

from orchestrator.store.manifest import SweepManifest

KEY = "mlflow.sharedViewState."
KIND = ("mlflow.experimentKind", "custom_model_development")
"""Tag of the experiment: its page opens on runs and metrics, not on traces of conversations."""

SORTED_BY = "gpu_energy_j_per_output_token"
_HEADLINES = (
    "gpu_energy_j_per_workflow",
    "median_workflow_ms",
    "gpu_energy_j_per_request",
    "p99_e2el_ms",
    SORTED_BY,
    "avg_gpu_power_w",
    "output_throughput",
    "cap_bound_ratio",
)
_TAGS = ("status", "reasons", "energy", "cap_effect", "simulated")
_MAX_TAG = 5000
_NAME_PX, _MARGIN_PX, _CHARACTER_PX = 360, 28, 7


def saved_view(manifest: SweepManifest, sweep_id_tag: str) -> tuple[str, str] | None:
    """Key and value of the experiment's tag: the cells alone, their headlines first, least energy on top.

    None where so many keys vary that the tag would not hold them.
    """
    columns = [("metrics", key) for key in _HEADLINES]  # the name of a run tells its swept values already
    columns += [("params", key) for key in manifest.swept] + [("tags", key) for key in _TAGS]
    widths_px = {"attributes.`Run Name`": _NAME_PX}
    widths_px |= {f"{kind}.`{key}`": _MARGIN_PX + _CHARACTER_PX * len(key) for kind, key in columns}
    state = {
        "searchFilter": f"tags.`{sweep_id_tag}` = '{manifest.sweep_id}' and tags.`status` LIKE '%'",
        "orderByKey": f"metrics.`{SORTED_BY}`",
        "orderByAsc": True,
        "selectedColumns": [name for name in widths_px if not name.startswith("attributes.")],
        "columnOrder": list(widths_px),
        "columnWidths": widths_px,
    }
    created_ms = round(manifest.created_unix_s * 1000)
    view = {"name": manifest.sweep_id, "createdAt": created_ms, "updatedAt": created_ms, "state": json.dumps(state)}
    content = json.dumps(view)
    return (KEY + manifest.sweep_id, content) if len(content) <= _MAX_TAG else None


def runs_address(base: str, experiment_id: str, view: str | None) -> str:
    """Address of the experiment's runs at an MLflow server, in a sweep's saved view where one is named."""
    shared = f"&viewStateShareKey={view}" if view is not None else ""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning{shared}"
