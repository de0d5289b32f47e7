"""Nested plain data as dotted keys, the way Hydra's command line writes them."""

from collections.abc import Iterator, Mapping
from typing import Any


def dotted(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"load": {"users": 4}}`` as ``{"load.users": 4}``; lists stay whole, empty mappings vanish."""
    return dict(_leaves(plain, prefix))


def _leaves(plain: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
