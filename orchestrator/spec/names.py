"""Names for people: dotted configuration keys, names of runs, and addresses of MLflow without passwords."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_OPTION_KEYS = ("kind", "name")
_MAX_LENGTH = 250
_SQLITE = "sqlite:///"
_CREDENTIALS = re.compile(r"//[^/@\s]+@")


def dotted(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``{"load": {"users": 4}}`` as ``{"load.users": 4}``; keep lists whole, drop empty mappings."""
    return dict(_leaves(plain, prefix))


def _leaves(plain: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def run_name(cell: Mapping[str, Any], swept: Sequence[str]) -> str:
    """Return a name such as ``copilot max_num_seqs=16 power_limit_w=240``, from the keys that the sweep varies.

    Options of a group come first, by name, then ``key=value`` of the other keys.

    Args:
        cell: The whole configuration of the cell, nested or dotted.
        swept: Dotted keys that vary; without any, the name is empty.
    """
    config = dotted(cell)
    keys = [key for key in swept if key in config]
    choices = [str(config[key]) for key in keys if is_option_key(key)]
    values = [f"{_short(key, swept)}={_text(config[key])}" for key in keys if not is_option_key(key)]
    return " ".join((*choices, *values))[:_MAX_LENGTH]


def is_option_key(key: str) -> bool:
    """Return whether a key holds the chosen option of a group: ``workflow.kind``, ``model.name``."""
    return key.rpartition(".")[2] in _OPTION_KEYS


def _short(key: str, swept: Sequence[str]) -> str:
    """Return the last part of a key, or the whole key if another swept key ends alike."""
    last = key.rpartition(".")[2]
    alone = sum(other.rpartition(".")[2] == last for other in swept) == 1
    return last if alone else key


def _text(value: Any) -> str:
    """Return the value as written on Hydra's command line."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def redacted(uri: str) -> str:
    """Return the address without a user's name and password, for messages."""
    return _CREDENTIALS.sub("//***@", uri)


def sqlite_file(uri: str) -> Path | None:
    """Return the database file of an SQLite address, absolute; None for any other address."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]).absolute()
