"""``restore``: restore the power limits and clocks that killed sweeps left on this machine's GPUs."""

from collections.abc import Sequence
from dataclasses import asdict

from collectors.control.journal import state_dir
from collectors.control.setter import AUTO, load
from collectors.control.undo import Leftover, restore_all
from collectors.errors import ControlRefused
from orchestrator.cli import CommandResult, parse_arguments
from orchestrator.errors import UserError
from orchestrator.sweep.console import print_line

_USAGE = "[setter=auto|nvml|zeusd|sudo_nvidia_smi] [state_dir=DIR]"
_NOT_RESTORED_EXIT_CODE = 3


def main(arguments: Sequence[str]) -> CommandResult:
    """Restore every GPU of this machine that has a journal and no live controller.

    The exit code is 0, or 3 if a GPU could not be restored. A second call has nothing to do.

    Raises:
        UserError: an argument is wrong.
    """
    given = parse_arguments("restore", _USAGE, arguments, ("setter", "state_dir"), takes_words=False)
    folder = state_dir(given.path("state_dir"))
    leftovers = restore_all(setter=_setter(given.options.get("setter", AUTO)), folder=folder)
    for leftover in leftovers:
        print_line(_line(leftover))
    if not leftovers:
        print_line(f"nothing to restore: {folder} has no journal")
    failed = [leftover.uuid for leftover in leftovers if leftover.state == "not restored"]
    code = _NOT_RESTORED_EXIT_CODE if failed else 0
    gpus = [asdict(leftover) for leftover in leftovers]
    return CommandResult(code, {"state_dir": str(folder), "gpus": gpus, "not_restored": failed, "exit_code": code})


def _setter(name: str) -> str:
    try:
        return name if name == AUTO else load(name).name
    except (ControlRefused, ImportError) as error:
        raise UserError(f"restore: {error}") from error


def _line(leftover: Leftover) -> str:
    undone = leftover.undone
    if undone is None:
        return f"{leftover.uuid}: {leftover.state}{f': {leftover.detail}' if leftover.detail else ''}"
    watts = "" if undone.found_w is None else f" (found {undone.found_w:g} W, before us {undone.before_w:g} W)"
    clock = "; SM clock unlocked" if undone.clock_unlocked else ""
    return f"{leftover.uuid}: power limit {undone.limit}{watts}{clock}"
