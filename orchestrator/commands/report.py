"""``report [SWEEP]``: write tables, figures and findings of a sweep again, of the newest by default."""

from orchestrator.cli import CommandResult, parse_arguments
from orchestrator.errors import UserError
from orchestrator.store.paths import LATEST, find_sweep
from orchestrator.store.sweep import SweepStore
from orchestrator.sweep.console import print_line

_USAGE = "[SWEEP] [runs_dir=runs]"


def main(arguments: list[str]) -> CommandResult:
    """Write the report of a sweep and print its path.

    Raises:
        UserError: there is no such sweep, or an argument is wrong.
    """
    given = parse_arguments("report", _USAGE, arguments, ("runs_dir",))
    if len(given.words) > 1:
        raise UserError(f"report takes one sweep, got {', '.join(given.words)}; compare takes two")
    store = SweepStore.open(find_sweep(given.runs_dir, (given.words or (LATEST,))[0]).root)
    from orchestrator.report.page import write_report  # deferred: wrong arguments are refused without plotly

    path = str(write_report(store))
    print_line(path)
    return CommandResult(0, {"sweep": store.sweep_id, "report": path, "cells": len(store.manifest.order)})
