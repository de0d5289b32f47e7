"""The command line: which command, what it was given, and how it ended."""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import plugins
from orchestrator.errors import JoulegridError, UserError, allowed_names
from orchestrator.sweep.signals import INTERRUPTED_EXIT_CODE, Interrupt, breakable

_COMMANDS = "orchestrator.commands"
_DEFAULT = "run"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the result is the exit code.

    0: done, 1: some cells failed or are invalid, 2: the input is wrong, 3: the surroundings are, 130: interrupted.
    The last line on standard output is one JSON object, errors included.
    """
    _open_closed_streams()
    command, arguments = _split(sys.argv[1:] if argv is None else list(argv))
    with breakable() as interrupt:
        try:
            code = _dispatch(command, arguments, interrupt)
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # whoever read the output has gone (`| head`): there is nobody to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt:
            return _failed(command, "interrupted", INTERRUPTED_EXIT_CODE)
        except (Exception, SystemExit) as error:  # the outermost boundary: any end is one line and a code
            if isinstance(error.__context__, BrokenPipeError):  # how rich says that the reader has gone
                return 1
            _show_where()
            if interrupt.requested:
                return _failed(command, "interrupted", INTERRUPTED_EXIT_CODE)
            return _failed(command, *_told(error))


def _open_closed_streams() -> None:
    """Started with an output closed (``>&-``, some batch systems), Python has None for it: nobody listens."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    """The command and what follows; a first word that is an option or an override leaves the default command."""
    if not arguments or arguments[0].startswith(("-", "+", "~")) or "=" in arguments[0]:
        return _DEFAULT, arguments
    return arguments[0], arguments[1:]


def _dispatch(command: str, arguments: list[str], interrupt: Interrupt) -> int:
    commands = plugins.available(_COMMANDS)
    if command not in commands:
        raise UserError(f"{command!r} is neither a command nor an override; {allowed_names(command, commands)}")
    found = plugins.load(_COMMANDS, command)
    if hasattr(found, "main"):
        return int(found.main(arguments))
    from orchestrator.matrix.compose import compose
    from orchestrator.matrix.matrix import build

    expansion = compose(arguments)
    if expansion is None:
        return 0
    matrix, settings = build(expansion)
    if interrupt.requested:
        raise KeyboardInterrupt
    return int(found.run(matrix, settings))


def _told(error: BaseException) -> tuple[str, int]:
    """What is said of an error, and its exit code; one that is not of our tree is a fault of ours."""
    if isinstance(error, JoulegridError):
        return str(error), error.exit_code
    return f"{type(error).__name__}: {' '.join(str(error).split())} (HYDRA_FULL_ERROR=1 shows where)", 1


def _show_where() -> None:
    """Hydra's own switch for full errors is ours, too."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exc()


def _failed(command: str, message: str, exit_code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"error: {line}\n")
    sys.stdout.write(json.dumps({"command": command, "error": line, "exit_code": exit_code}) + "\n")
    sys.stdout.flush()
    return exit_code


@dataclass(frozen=True, slots=True)
class Arguments:
    """Words in their order, and options by key."""

    words: tuple[str, ...]
    options: dict[str, str]

    def names(self, key: str) -> tuple[str, ...]:
        """The comma list an option holds; empty where it was not given."""
        return tuple(name.strip() for name in self.options.get(key, "").split(",") if name.strip())


def helped(command: str, takes: str, given: Sequence[str]) -> bool:
    """Whether help was asked for; it is then told: a usage line, and the line that scripts read."""
    if not {"--help", "-h"} & set(given):
        return False
    usage = f"python -m orchestrator {command} {takes}"
    sys.stdout.write(f"usage: {usage}\n{json.dumps({'command': command, 'usage': usage})}\n")
    return True


def parsed(command: str, given: Sequence[str], allowed: Sequence[str]) -> Arguments:
    """Words and options of a command; ``--name VALUE`` and ``--name=VALUE`` are ``name=VALUE``.

    Raises:
        UserError: an option that is not ``allowed``, without a value, or given twice.
    """
    words: list[str] = []
    options: dict[str, str] = {}
    rest = iter(given)
    for argument in rest:
        key, equals, value = argument.partition("=")
        if argument.startswith("--") and not equals:
            value = next(rest, "")
        elif not equals or (key not in allowed and Path(argument).exists()):
            words.append(argument)
            continue
        key = key.removeprefix("--")
        if key not in allowed:
            raise UserError(f"{command}: unknown option {key!r}; {allowed_names(key, allowed)}")
        if not value or key in options:
            raise UserError(f"{command}: {key} takes one value, {'given twice' if value else 'got none'}")
        options[key] = value
    return Arguments(tuple(words), options)
