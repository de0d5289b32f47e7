"""Plug-ins found by their file names, as the orchestrator's users see them: an unknown name is their error."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import JoulegridError, UserError, as_cell_error
from workflows import plugins
from workflows.plugins import available

__all__ = ["available", "blamed", "load", "part"]


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
    except (Exception, SystemExit) as error:  # a supervisor: a user's module may do anything when it is imported
        raise UserError(f"plug-in {kind} cannot be imported: {as_cell_error(error)}") from error


def part(package: str, kind: str, name: str) -> Any:
    """The class or function ``name`` of a plug-in.

    Raises:
        UserError: there is no such plug-in, or it lacks that part.
    """
    found = getattr(load(package, kind), name, None)
    if found is None:
        raise UserError(f"plug-in {kind} has no {name}, which every plug-in of {package} needs")
    return found


@contextmanager
def blamed(kind: str) -> Iterator[None]:
    """Whatever a plug-in's code raises in this block is told as its error, with its place; also ``exit()``.

    Raises:
        UserError: the block raised anything but an error of ours or of validation, which pass as they are.
    """
    try:
        yield
    except (JoulegridError, ValidationError):
        raise
    except (Exception, SystemExit) as error:  # a supervisor, as the worker is for cells
        raise UserError(f"plug-in {kind}: {as_cell_error(error)}") from error
