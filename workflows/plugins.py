"""Plug-ins are modules found by their file names: listing the folder is the registry."""

import importlib
import importlib.util
import pkgutil
from types import ModuleType


class UnknownPlugin(ValueError):
    """There is no plug-in of that name; the message lists those there are."""


def available(package: str) -> tuple[str, ...]:
    """Names of the plug-ins that ship in ``package`` (a dotted package name)."""
    found = importlib.import_module(package)
    return tuple(sorted(module.name for module in pkgutil.iter_modules(found.__path__)))


def load(package: str, kind: str) -> ModuleType:
    """The plug-in ``kind`` of ``package``, or the user's own module where ``kind`` is a dotted path.

    Raises:
        UnknownPlugin: there is none of that name.
    """
    name = kind if "." in kind else f"{package}.{kind}"
    try:
        found = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        found = None
    if found is None:
        allowed = ", ".join(available(package))
        raise UnknownPlugin(f"no {package} plug-in {kind!r}; allowed: {allowed}, or a dotted module path")
    return importlib.import_module(name)
