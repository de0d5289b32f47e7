"""Plug-ins found by file name. A missing or broken plug-in is a `UserError`."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import JoulegridError, UserError, as_cell_error
from workflows import plugins
from workflows.plugins import available

__all__ = ["available", "load", "part", "user_errors"]


def load(package: str, kind: str) -> ModuleType:
    """Return the plug-in ``kind`` of ``package``, or the user's own module if ``kind`` is a dotted path.

    Raises:
        UserError: There is no such plug-in (the message lists the allowed names), or it cannot be imported.
    """
    try:
        return plugins.load(package, kind)
    except plugins.UnknownPlugin as error:
        raise UserError(str(error)) from error
    except (ImportError, SyntaxError) as error:
        raise UserError(f"plug-in {kind} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # a supervisor: a user's module may raise anything when it is imported
        raise UserError(f"plug-in {kind} cannot be imported: {as_cell_error(error)}") from error


def part(package: str, kind: str, name: str) -> Any:
    """Return the class or function ``name`` of a plug-in.

    Raises:
        UserError: There is no such plug-in, or it lacks that part.
    """
    value = getattr(load(package, kind), name, None)
    if value is None:
        raise UserError(f"plug-in {kind} has no {name}, which every plug-in of {package} needs")
    return value


@contextmanager
def user_errors(kind: str) -> Iterator[None]:
    """Raise any error of a plug-in's code in this block as a `UserError` with its place; ``exit()`` too.

    Raises:
        UserError: The block raised anything but a `JoulegridError` or a validation error, which pass unchanged.
    """
    try:
        yield
    except (JoulegridError, ValidationError):
        raise
    except (Exception, SystemExit) as error:  # a supervisor, as the worker is for cells
        raise UserError(f"plug-in {kind}: {as_cell_error(error)}") from error
