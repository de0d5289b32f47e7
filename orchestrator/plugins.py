"""Plug-ins found by their file names, as the orchestrator's users see them: an unknown name is their error."""

from types import ModuleType
from typing import Any

from orchestrator.errors import UserError
from workflows import plugins
from workflows.plugins import available

__all__ = ["available", "load", "part"]


def load(package: str, kind: str) -> ModuleType:
    """The plug-in ``kind`` of ``package``, or the user's own module where ``kind`` is a dotted path.

    Raises:
        UserError: there is none of that name (the message lists those there are), or it cannot be imported.
    """
    try:
        return plugins.load(package, kind)
    except plugins.UnknownPlugin as error:
        raise UserError(str(error)) from error
    except (ImportError, SyntaxError) as error:
        raise UserError(f"plug-in {kind} cannot be imported: {error}") from error


def part(package: str, kind: str, name: str) -> Any:
    """The class or function ``name`` of a plug-in.

    Raises:
        UserError: there is no such plug-in, or it lacks that part.
    """
    found = getattr(load(package, kind), name, None)
    if found is None:
        raise UserError(f"plug-in {kind} has no {name}, which every plug-in of {package} needs")
    return found
