"""What MLflow shows of a cell and of a sweep: tags and parameters, as plain text."""

import getpass
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.records.metrics import cap_effect
from orchestrator.records.record import CellRecord
from orchestrator.report.theme import PANELS
from orchestrator.report.words import source_words
from orchestrator.spec.names import dotted, names_a_choice
from orchestrator.store.manifest import SweepManifest

_MAX_ERROR = 500


def cell_tags(record: CellRecord) -> dict[str, str]:
    """What people filter cells by; what does not apply is left out."""
    last = record.attempts[-1] if record.attempts else None
    tags = {
        "status": record.status,
        "simulated": _text(record.simulated),
        "reasons": ", ".join(reason.code for reason in record.reasons),
        "energy": _energy(record),
        "cap_effect": cap_effect(dotted(record.cell), record.metrics) or "",
        "attempts": str(len(record.attempts)),
        "engine_key": record.engine_key,
        "host": last.host if last is not None else "",
        "error": (last.error or "")[:_MAX_ERROR] if last is not None else "",
        **by_whom(),
    }
    return {key: value for key, value in tags.items() if value}


def cell_params(config: Mapping[str, Any]) -> dict[str, str]:
    """The configuration under Hydra's dotted keys; what is not set is left out."""
    return {key: _text(value) for key, value in config.items() if value is not None}


def sweep_params(manifest: SweepManifest) -> dict[str, str]:
    """What never changes of a sweep, as MLflow lets no parameter change."""
    return {"sweep": manifest.name, "overrides": " ".join(manifest.overrides) or "none"}


def sweep_tags(manifest: SweepManifest, records: Sequence[CellRecord]) -> dict[str, str]:
    """How far the sweep is."""
    counts = Counter[str](record.status for record in records)
    return {
        "cells": str(len(manifest.order)),
        **{f"cells_{status}": str(counts[status]) for status in ("ok", "failed", "invalid")},
        **_reasons(records),
        "cells_missing": str(len(manifest.missing({record.cell_id for record in records}))),
        **({"cells_not_needed": str(len(manifest.not_needed))} if manifest.not_needed else {}),
    }


def colour_tag(manifest: SweepManifest, record: CellRecord) -> dict[str, str]:
    """MLflow's own tag for the colour in its charts: one for each choice of the first group that varies."""
    key = next((key for key in manifest.swept if names_a_choice(key)), None)
    if key is None:
        return {}
    group, _, name = key.partition(".")
    choices = list(dict.fromkeys(manifest.cells[cell_id].get(group, {}).get(name) for cell_id in manifest.order))
    return {
        "mlflow.runColor": PANELS[choices.index(manifest.cells[record.cell_id].get(group, {}).get(name)) % len(PANELS)]
    }


def by_whom() -> dict[str, str]:
    """MLflow's own tags for the user and the program."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return {"mlflow.user": user, "mlflow.source.name": "joulegrid"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _energy(record: CellRecord) -> str:
    if record.status == "failed":
        return ""
    return source_words(record.provenance.get("energy_source"), record.cell.get("collectors", {}).get("power"))


def _reasons(records: Sequence[CellRecord]) -> dict[str, str]:
    """Why cells are invalid, with how many of them are."""
    codes = Counter[str](reason.code for record in records for reason in record.reasons)
    return {"reasons": ", ".join(f"{code}: {count}" for code, count in codes.most_common())} if codes else {}
