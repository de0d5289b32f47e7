"""Find plug-ins by their file names: the listing of the folder is the registry."""

import importlib
import importlib.util
import pkgutil
from types import ModuleType


class UnknownPlugin(ValueError):
    """No plug-in has that name; the message lists the names."""


def available(package: str) -> tuple[str, ...]:
    """Return the names of the plug-ins that ship in ``package`` (a dotted package name)."""
    module = importlib.import_module(package)
    return tuple(sorted(info.name for info in pkgutil.iter_modules(module.__path__)))


def load(package: str, kind: str) -> ModuleType:
    """Import the plug-in ``kind`` of ``package``, or the user's own module if ``kind`` is a dotted path.

    Raises:
        UnknownPlugin: no module has that name.
    """
    name = kind if "." in kind else f"{package}.{kind}"
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None:
        allowed = ", ".join(available(package))
        raise UnknownPlugin(f"no {package} plug-in {kind!r}; allowed: {allowed}, or a dotted module path")
    return importlib.import_module(name)
