"""Nested plain data as dotted keys, the way Hydra's command line writes them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_SQLITE = "sqlite:///"
_SECRET = re.compile(r"//[^/@\s]+@")
_NAMES_OF_CHOICES = ("kind", "name")
_MAX_LENGTH = 250


def dotted(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"load": {"users": 4}}`` as ``{"load.users": 4}``; lists stay whole, empty mappings vanish."""
    return dict(_leaves(plain, prefix))


def _leaves(plain: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def shown(uri: str) -> str:
    """The address without a user's name and password, for messages."""
    return _SECRET.sub("//***@", uri)


def sqlite_file(uri: str) -> Path | None:
    """The database file of an SQLite address, relative ones from the working directory; None for any other."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]).absolute()


def run_name(cell: Mapping[str, Any], swept: Sequence[str]) -> str:
    """``copilot max_num_seqs=16 power_limit_w=240``: swept choices of a group by their names, then swept values.

    ``cell`` is the cell's whole configuration, nested or dotted. Empty where nothing was swept.
    """
    config = dotted(cell)
    known = [key for key in swept if key in config]
    choices = [str(config[key]) for key in known if names_a_choice(key)]
    values = [f"{_short(key, swept)}={_text(config[key])}" for key in known if not names_a_choice(key)]
    return " ".join((*choices, *values))[:_MAX_LENGTH]


def names_a_choice(key: str) -> bool:
    """Whether a key tells which option of a group was chosen: ``workflow.kind``, ``model.name``."""
    return key.rpartition(".")[2] in _NAMES_OF_CHOICES


def _short(key: str, swept: Sequence[str]) -> str:
    last = key.rpartition(".")[2]
    alone = sum(other.rpartition(".")[2] == last for other in swept) == 1
    return last if alone else key


def _text(value: Any) -> str:
    """As one would write it on Hydra's command line."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
