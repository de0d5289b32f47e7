"""``restore``: bring back the power limits and clocks that killed sweeps have left on this machine's GPUs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from collectors.control.journal import state_dir
from collectors.control.setter import AUTO, load
from collectors.control.undo import Leftover, restore_all
from collectors.errors import ControlRefused
from orchestrator.cli import helped, parsed
from orchestrator.errors import UserError
from orchestrator.sweep.console import say

_TAKES = "[setter=auto|nvml|zeusd|sudo_nvidia_smi] [state_dir=DIR]"
_NOT_RESTORED_EXIT_CODE = 3


def main(args: Sequence[str]) -> int:
    """``restore [setter=…] [state_dir=…]``: every GPU of this machine that has a journal and no live controller.

    The result is the exit code: 0, or 3 where a GPU was not brought back. A second time finds nothing to do.

    Raises:
        UserError: an argument is wrong.
    """
    if helped("restore", _TAKES, args):
        return 0
    given = parsed("restore", args, ("setter", "state_dir"))
    if given.words:
        raise UserError(f"restore takes no {given.words[0]!r}; allowed: {_TAKES}")
    folder = state_dir(Path(given.options["state_dir"]) if "state_dir" in given.options else None)
    found = restore_all(setter=_setter(given.options.get("setter", AUTO)), folder=folder)
    for each in found:
        say(_told(each))
    if not found:
        say(f"nothing to restore: {folder} has no journal")
    failed = [each.uuid for each in found if each.state == "not restored"]
    code = _NOT_RESTORED_EXIT_CODE if failed else 0
    told = {"gpus": [asdict(each) for each in found], "not_restored": failed, "exit_code": code}
    say(json.dumps({"command": "restore", "state_dir": str(folder), **told}))
    return code


def _setter(name: str) -> str:
    try:
        return name if name == AUTO else load(name).name
    except (ControlRefused, ImportError) as error:
        raise UserError(f"restore: {error}") from error


def _told(found: Leftover) -> str:
    done = found.undone
    if done is None:
        return f"{found.uuid}: {found.state}{f': {found.detail}' if found.detail else ''}"
    watts = "" if done.found_w is None else f" (found {done.found_w:g} W, before us {done.before_w:g} W)"
    clock = "; SM clock unlocked" if done.clock_unlocked else ""
    return f"{found.uuid}: power limit {done.limit}{watts}{clock}"
