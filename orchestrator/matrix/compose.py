"""Hydra's command line, run to compose and for nothing else: what it composes comes back as data."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence

import hydra
from omegaconf import DictConfig

from orchestrator.errors import UserError
from orchestrator.matrix.errors import COMPOSITION_ERRORS, hydra_error
from orchestrator.matrix.expand import Expansion, single

_FULL_ERROR = "HYDRA_FULL_ERROR"


def compose(arguments: Sequence[str]) -> Expansion | None:
    """What the arguments compose to; None where they only asked Hydra to show something (``--help``, ``--cfg``).

    Raises:
        UserError: Hydra refuses the arguments or a file, told in one line.
    """
    composed: list[Expansion] = []

    def keep(found: DictConfig | Expansion) -> None:
        """The task: the sweeper hands over an expansion, a single job its configuration."""
        composed.append(found if isinstance(found, Expansion) else single(found))

    with _hydra_surroundings(arguments):
        try:
            hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")(keep)()
        except BrokenPipeError:  # the reader of --help has gone; nothing is wrong with the input
            raise
        except COMPOSITION_ERRORS as error:
            raise hydra_error(error) from error
    return composed[0] if composed else None


@contextlib.contextmanager
def _hydra_surroundings(arguments: Sequence[str]) -> Iterator[None]:
    """Hydra reads ``sys.argv``, prints its errors unless told to raise them, and exits after showing something."""
    argv, full_error = sys.argv, os.environ.get(_FULL_ERROR)
    sys.argv, os.environ[_FULL_ERROR] = ["python -m orchestrator", *arguments], "1"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
        sys.stderr.write(said.getvalue())
    except SystemExit as stop:
        if stop.code not in (0, None):
            raise UserError(_usage_error(said.getvalue())) from stop
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ[_FULL_ERROR]
        else:
            os.environ[_FULL_ERROR] = full_error


def _usage_error(said: str) -> str:
    """Argparse prints the usage and then the error, after the name of the program."""
    last = said.strip().splitlines()[-1] if said.strip() else "the arguments cannot be read"
    told = last.partition("error: ")[2] or last
    apart = told.startswith("unrecognized arguments: ") and "=" in told and ": -" not in told
    return f"{told}; options such as -m go before all overrides or after them, not between" if apart else told
