"""The command line: which command runs, how its arguments are read, and how it ends."""

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import plugins
from orchestrator.errors import JoulegridError, UserError, allowed_names
from orchestrator.sweep.signals import INTERRUPTED_EXIT_CODE, Interrupt, breakable

_COMMANDS = "orchestrator.commands"
_DEFAULT_COMMAND = "run"
_OUTPUTS = ("auto", "json")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended: its exit code, and the fields of the last line; None prints no line."""

    exit_code: int
    fields: Mapping[str, Any] | None


@dataclass(slots=True)
class LastLine:
    """The JSON object that ends standard output, for programs.

    It is printed if standard output is not a terminal, or with ``output=json``.
    """

    command: str
    output: str = "auto"

    def print(self, fields: Mapping[str, Any] | None) -> None:
        """Print the object, ``command`` first, if programs read the output and there are fields; flush in any case."""
        if fields is not None and (self.output == "json" or not sys.stdout.isatty()):
            sys.stdout.write(json.dumps({"command": self.command, **fields}, allow_nan=False) + "\n")
        sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: done, 1: some cells failed or are invalid, 2: the input is wrong, 3: the environment is wrong, 130: interrupted.
    """
    _replace_closed_streams()
    command, arguments = _split(sys.argv[1:] if argv is None else list(argv))
    last_line = LastLine(command)
    with breakable() as interrupt:
        try:
            last_line.output = _output(arguments)
            result = _dispatch(command, arguments, interrupt, last_line)
            last_line.print(result.fields)
            return result.exit_code
        except BrokenPipeError:  # the reader of the output has gone (`| head`)
            _discard_output()
            return 1
        except KeyboardInterrupt:
            return _fail(last_line, "interrupted", INTERRUPTED_EXIT_CODE)
        except (Exception, SystemExit) as error:  # the outermost supervisor: every end is one line and an exit code
            if isinstance(error.__context__, BrokenPipeError):  # rich replaces a BrokenPipeError by SystemExit
                return 1
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                traceback.print_exc()
            if interrupt.requested:
                return _fail(last_line, "interrupted", INTERRUPTED_EXIT_CODE)
            return _fail(last_line, *_message_and_code(error))


def _replace_closed_streams() -> None:
    """Replace outputs that were closed at the start (``>&-``, some batch systems), for which Python has None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the command and its arguments; the default command if the first word is an option or an override."""
    if not arguments or arguments[0].startswith(("-", "+", "~")) or "=" in arguments[0]:
        return _DEFAULT_COMMAND, arguments
    return arguments[0], arguments[1:]


def _is_output(argument: str) -> bool:
    return argument.removeprefix("--").removeprefix("++").startswith("output=")


def _output(arguments: Sequence[str]) -> str:
    """Return the value of the ``output`` option, which every command has."""
    given = [argument.partition("=")[2] for argument in arguments if _is_output(argument)]
    for value in given:
        if value not in _OUTPUTS:
            raise UserError(f"output: must be {' or '.join(map(repr, _OUTPUTS))}, got {value!r}")
    return given[-1] if given else _OUTPUTS[0]


def _dispatch(command: str, arguments: list[str], interrupt: Interrupt, last_line: LastLine) -> CommandResult:
    """Run the command, or with Hydra's flags (``--help``, ``--cfg``) show what they ask for.

    ``output`` is not passed on. If it is not among the arguments, a sweep file may set it: ``last_line`` takes it over.
    """
    own = [argument for argument in arguments if not _is_output(argument)]
    commands = plugins.available(_COMMANDS)
    if command not in commands:
        raise UserError(f"{command!r} is neither a command nor an override; {allowed_names(command, commands)}")
    module: Any = plugins.load(_COMMANDS, command)
    result: CommandResult
    if hasattr(module, "main"):
        try:
            result = module.main(own)
        except HelpRequested as request:
            sys.stdout.write(f"usage: {request.usage}\n")
            result = CommandResult(0, {"usage": request.usage})
        return result
    from orchestrator.matrix.compose import compose
    from orchestrator.matrix.matrix import build

    expansion = compose(own)
    if expansion is None:
        return CommandResult(0, None)
    matrix, settings = build(expansion)
    if own == arguments:
        last_line.output = settings.output
    if interrupt.requested:
        raise KeyboardInterrupt
    result = module.run(matrix, settings)
    return result


def _message_and_code(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of an error; one outside our error tree is a bug."""
    if isinstance(error, JoulegridError):
        return str(error), error.exit_code
    return f"{type(error).__name__}: {' '.join(str(error).split())} (HYDRA_FULL_ERROR=1 shows where)", 1


def _fail(last_line: LastLine, message: str, exit_code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"error: {line}\n")
    try:
        last_line.print({"error": line, "exit_code": exit_code})
    except BrokenPipeError:
        _discard_output()
    return exit_code


def _discard_output() -> None:
    """Send the rest of standard output nowhere: its reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True, slots=True)
class Arguments:
    """The words of a command in their order, and its options by key."""

    words: tuple[str, ...]
    options: dict[str, str]

    @property
    def runs_dir(self) -> Path:
        """Return the folder of the sweeps."""
        return Path(self.options.get("runs_dir", "runs"))

    def path(self, key: str) -> Path | None:
        """Return an option as a path; None if it is not given."""
        return Path(self.options[key]) if key in self.options else None

    def names(self, key: str) -> tuple[str, ...]:
        """Return the comma-separated names of an option; empty if it is not given."""
        return tuple(name.strip() for name in self.options.get(key, "").split(",") if name.strip())


class HelpRequested(Exception):
    """The arguments of a command hold ``--help`` or ``-h``."""

    def __init__(self, command: str, usage: str) -> None:
        super().__init__(command)
        self.usage = f"python -m orchestrator {command} {usage} [output=auto|json]"


def parse_arguments(
    command: str, usage: str, given: Sequence[str], allowed: Sequence[str], *, takes_words: bool = True
) -> Arguments:
    """Return the words and options of a command; ``--name VALUE`` and ``--name=VALUE`` are ``name=VALUE``.

    Raises:
        HelpRequested: ``--help`` or ``-h`` is given.
        UserError: an option is not ``allowed``, has no value or is given twice; a word although the command takes none.
    """
    if {"--help", "-h"} & set(given):
        raise HelpRequested(command, usage)
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
            raise UserError(f"{command}: unknown option {key!r}; {allowed_names(key, (*allowed, 'output'))}")
        if not value or key in options:
            raise UserError(f"{command}: {key} takes one value, {'given twice' if value else 'got none'}")
        options[key] = value
    if words and not takes_words:
        raise UserError(f"{command} takes no {words[0]!r}; allowed: {usage}")
    return Arguments(tuple(words), options)
