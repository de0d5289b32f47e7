"""``report [SWEEP_ID or path] [runs_dir=runs]``: tables, figures and findings of a sweep, the newest by default."""

import json
import sys
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.store.paths import LATEST, find_sweep
from orchestrator.store.sweep import SweepStore


def main(arguments: list[str]) -> int:
    """Write the report of a sweep; the last line names it.

    Raises:
        UserError: there is no such sweep, or an argument is not one of the two allowed.
    """
    wanted, runs_dir = _parsed(arguments)
    store = SweepStore.open(find_sweep(runs_dir, wanted).root)
    from orchestrator.report.page import write_report

    path = write_report(store)
    sys.stdout.write(f"{path}\n")
    told = {"command": "report", "sweep": store.sweep_id, "report": str(path), "cells": len(store.manifest.order)}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


def _parsed(arguments: list[str]) -> tuple[str, Path]:
    wanted, runs_dir = [], Path("runs")
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key == "runs_dir" and value:
            runs_dir = Path(value)
        elif argument.startswith("-") or (equals and not Path(argument).exists()):
            raise UserError(f"report: cannot read {argument!r}; allowed: a sweep's id or folder, and runs_dir=DIR")
        else:
            wanted.append(argument)
    if len(wanted) > 1:
        raise UserError(f"report takes one sweep, got {', '.join(wanted)}; compare takes two")
    return (wanted[0] if wanted else LATEST), runs_dir
