"""The arguments of commands that take no matrix: plain words, and ``key=value``."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.matrix.suggestion import allowed_names


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
